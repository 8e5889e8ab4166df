//! Tests the flags of `percept encode`.

use percept::weights::OpenModel;

use super::{Differ, Run, Same, Shows, Table, assert_values, check, flag, no_inputs};
use crate::Folder;

/// The representation of a picture by the demo's encoder.
const TRUNK: &str = "encode --device cpu -o h.npy --encoder @demo/encoder.safetensors @star";
/// The same without an encoder.
const PICTURE: &str = "encode --device cpu -o h.npy @star";
const NO_OUTPUT: &str = "encode --device cpu --encoder @demo/encoder.safetensors @star";
const NO_DEVICE: &str = "encode -o h.safetensors --encoder @demo/encoder.safetensors @star";

pub(super) const TABLE: Table = Table {
    program: "percept",
    command: "encode",
    inputs: no_inputs,
    flags: &[
        flag("--encoder", PICTURE, &["--encoder @demo/encoder.safetensors", "--encoder random:resnet18"], Differ),
        // A seed of more than 32 bits.
        flag(
            "--encoder",
            "encode --device cpu -o h.npy --image-size 64 @star",
            &["--encoder random:resnet18:5", "--encoder random:resnet18:4294967301", "--encoder random:resnet18"],
            Differ,
        ),
        flag("--head", TRUNK, &["", "--head @demo/head.safetensors"], Differ),
        flag("--layer", TRUNK, &["", "--layer stem", "--layer layer2", "--layer layer3"], Differ),
        flag("--layer", TRUNK, &["", "--layer trunk"], Same),
        flag("--preprocessing", TRUNK, &["", "--preprocessing squash", "--preprocessing imagenet"], Differ),
        flag("--preprocessing", TRUNK, &["", "--preprocessing rcdm"], Same),
        flag("--image-size", TRUNK, &["", "--image-size 65", "--image-size 96"], Differ),
        flag("--image-size", TRUNK, &["", "--image-size 64"], Same),
        flag("--bundle", PICTURE, &["--bundle @trunk", "--bundle @demo/head.bundle.json"], Differ),
        flag(
            "--output",
            NO_OUTPUT,
            &["-o h.npy", "--output h.jsonl", "-o other.npz"],
            Shows(|runs| {
                let names: Vec<Vec<&str>> = runs.iter().map(Run::names).collect();
                assert_eq!(names, [["h.npy"], ["h.jsonl"], ["other.npz"]]);
            }),
        ),
        flag(
            "--json",
            TRUNK,
            &["", "--json"],
            Shows(|runs| {
                assert!(runs[0].succeeded().ended.stdout.starts_with("h.npy: 1 picture, 256 elements of trunk each"));
                assert_values(&runs[1..], "/dim", &[256]);
            }),
        ),
        flag("--json", TRUNK, &["", "--json"], Same),
        flag(
            "--device",
            NO_DEVICE,
            &["--device cpu", "--device reference"],
            Shows(|runs| {
                assert_eq!(runs.iter().map(|run| metadata(run, "device")).collect::<Vec<_>>(), ["cpu", "reference"]);
            }),
        ),
        flag("--precision", TRUNK, &["--precision f32", "--precision f16"], Differ),
        flag("--precision", TRUNK, &["", "--precision f32"], Same),
    ],
};

/// Returns the value under a key in the file that a run writes.
fn metadata(run: &Run, key: &str) -> String {
    let folder = Folder::new();
    folder.write("h.safetensors", &run.succeeded().files["h.safetensors"]);
    let file = OpenModel::open(folder.path("h.safetensors")).expect("a .safetensors file");
    file.metadata(key).expect(key).to_string()
}

#[test]
fn every_flag_of_encode_is_felt() {
    check(&TABLE);
}
