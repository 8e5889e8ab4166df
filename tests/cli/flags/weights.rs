//! Tests the flags of `percept-weights`.

use std::fs;

use percept::weights::OpenModel;
use percept::weights::WeightSource;
use serde_json::Value;

use super::{Differ, Run, Same, Shows, Table, check, flag, no_inputs};
use crate::{Folder, asset};

pub const PERCEPT_WEIGHTS: Table = Table {
    program: "percept-weights",
    command: "",
    inputs: no_inputs,
    flags: &[flag(
        "--version",
        "",
        &["--version", "-V"],
        Shows(|runs| {
            for run in runs {
                assert_eq!(run.succeeded().ended.stdout, concat!("percept-weights ", env!("CARGO_PKG_VERSION"), "\n"));
            }
        }),
    )],
};

pub const INSPECT: Table = Table {
    program: "percept-weights",
    command: "inspect",
    inputs: no_inputs,
    flags: &[flag(
        "--json",
        "inspect @tests/weights/files/zip.pth",
        &["", "--json"],
        Shows(|runs| {
            assert!(runs[0].succeeded().ended.stdout.contains("zip.pth: PyTorch, zip, 17 tensors"));
            assert_eq!(runs[1].value("/tensors").as_array().map(Vec::len), Some(17));
        }),
    )],
};

const RESNET: &str = "convert -o m.safetensors @tests/weights/layouts/files/torchvision_resnet18_legacy.pth";
const RESNET_NO_OUTPUT: &str = "convert @tests/weights/layouts/files/torchvision_resnet18_legacy.pth";
const DINO: &str = "convert -o m.safetensors @tests/weights/layouts/files/dino_resnet50_full.pth";
const RCDM: &str = "convert -o m.safetensors @tests/weights/layouts/files/rcdm_time_embedding.pt";
const DECODER: &str = "convert -o m.safetensors @demo/decoder_trunk.safetensors";
/// A head in which one tensor has a wrong name.
const FAULTY: &str = "convert -o m.safetensors @in/faulty.safetensors";

pub const CONVERT: Table = Table {
    program: "percept-weights",
    command: "convert",
    inputs: of_convert,
    flags: &[
        flag(
            "--output",
            RESNET_NO_OUTPUT,
            &["-o a.safetensors", "--output b.safetensors"],
            Shows(|runs| {
                assert_eq!(runs.iter().map(Run::names).collect::<Vec<_>>(), [["a.safetensors"], ["b.safetensors"]]);
            }),
        ),
        flag(
            "--part",
            DINO,
            &["", "--part trunk", "--part head"],
            Shows(|runs| {
                let kinds = |run: &Run| run.names().iter().map(|name| metadata(run, name, "percept.kind")).collect();
                let kinds: Vec<Vec<Option<String>>> = runs.iter().map(kinds).collect();
                let [resnet, head] = ["resnet", "head"].map(|kind| Some(kind.to_string()));
                assert_eq!(kinds, [vec![head.clone(), resnet.clone()], vec![resnet], vec![head]]);
                assert_eq!(runs[0].names(), ["m.head.safetensors", "m.safetensors"]);
            }),
        ),
        flag(
            "--dtype",
            RESNET,
            &["--dtype f32", "--dtype f16", "--dtype bf16"],
            Shows(|runs| {
                for (run, said) in runs.iter().zip(["no element changed", "21 f16, ", "21 bf16, "]) {
                    assert!(run.succeeded().ended.stdout.contains(said), "{said:?} is not in {}", run.ended.stdout);
                }
            }),
        ),
        flag("--dtype", RESNET, &["--dtype f32", "--dtype f16", "--dtype bf16"], Differ),
        // One of the two presets has the cosine schedule.
        flag(
            "--preset",
            RCDM,
            &["--config @in/all.json --preset adm-64", "--config @in/all.json --preset adm-128"],
            Shows(|runs| {
                let schedules = runs.iter().map(|run| config(run)["noise_schedule"].clone());
                assert!(schedules.eq(["cosine", "linear"]));
            }),
        ),
        flag(
            "--config",
            RCDM,
            &["", "--config @in/32.json", "--config @in/64.json"],
            Shows(|runs| {
                runs[0].fails(1, &["image_size, num_heads or num_head_channels", "--config"]);
                assert!(runs[1..].iter().map(|run| config(run)["image_size"].clone()).eq([32, 64]));
            }),
        ),
        // A model file contains its configuration.
        flag(
            "--preset",
            DECODER,
            &["", "--preset adm-64"],
            Shows(|runs| {
                runs[0].succeeded();
                runs[1].fails(1, &["--preset", "none for a file that says its configuration, got adm-64"]);
            }),
        ),
        flag(
            "--config",
            DECODER,
            &["", "--config @in/same.json", "--config @in/64.json"],
            Shows(|runs| {
                assert!(runs[1].result() == runs[0].result());
                runs[2].fails(1, &["image_size: expected 32, as the file has it, got 64"]);
            }),
        ),
        flag(
            "--preprocessing",
            RESNET,
            &["", "--preprocessing squash", "--preprocessing imagenet"],
            Shows(|runs| {
                let presets = runs.iter().map(|run| preprocessing(run)["preset"].clone());
                assert!(presets.eq(["rcdm", "squash", "imagenet"]));
            }),
        ),
        flag("--preprocessing", RESNET, &["", "--preprocessing rcdm"], Same),
        flag(
            "--preprocessing",
            RCDM,
            &["--config @in/32.json", "--config @in/32.json --preprocessing squash"],
            Shows(|runs| {
                runs[0].succeeded();
                runs[1].fails(1, &["--preprocessing", "none without an encoder, got squash"]);
            }),
        ),
        flag(
            "--image-size",
            RESNET,
            &["", "--image-size 64", "--image-size 96"],
            Shows(|runs| {
                assert!(runs.iter().map(|run| preprocessing(run)["size"].clone()).eq([224, 64, 96]));
            }),
        ),
        flag("--image-size", RESNET, &["", "--image-size 224"], Same),
        flag(
            "--image-size",
            RCDM,
            &["--config @in/32.json", "--config @in/32.json --image-size 64"],
            Shows(|runs| {
                runs[0].succeeded();
                runs[1].fails(1, &["--image-size", "none without an encoder, got 64"]);
            }),
        ),
        flag(
            "--fold",
            RESNET,
            &["", "--fold"],
            Shows(|runs| {
                let [whole, folded] = [0, 1].map(|run: usize| tensors(&runs[run]));
                assert!(whole.iter().any(|name| name == "bn1.running_var"), "{whole:?}");
                assert!(
                    folded.len() < whole.len() && !folded.iter().any(|name| name.ends_with("running_var")),
                    "{folded:?}"
                );
            }),
        ),
        flag(
            "--license",
            RESNET,
            &["", "--license MIT", "--license CC-BY-NC-4.0"],
            Shows(|runs| {
                let licences = runs.iter().map(|run| metadata(run, "m.safetensors", "percept.license"));
                assert!(licences.eq([None, Some("MIT".into()), Some("CC-BY-NC-4.0".into())]));
            }),
        ),
        flag(
            "--allow",
            FAULTY,
            &["", "--allow"],
            Shows(|runs| {
                runs[0].fails(1, &["missing 0.bias (there is 0.bios)", "nothing was written"]);
                assert!(runs[0].files.is_empty());
                assert_eq!(runs[1].names(), ["m.safetensors"]);
            }),
        ),
        flag("--allow", RESNET, &["", "--allow"], Same),
        flag(
            "--dry-run",
            RESNET,
            &["", "--dry-run"],
            Shows(|runs| {
                assert_eq!(runs[0].names(), ["m.safetensors"]);
                assert!(runs[1].names().is_empty());
                assert!(
                    runs[1].ended.stdout.contains("  would be written to m.safetensors, "),
                    "{}",
                    runs[1].ended.stdout
                );
            }),
        ),
        flag(
            "--tensors",
            RESNET,
            &["", "--tensors"],
            Shows(|runs| {
                let lines = |run: &Run| run.succeeded().ended.stdout.matches(": largest ").count();
                assert_eq!(runs.iter().map(lines).collect::<Vec<_>>(), [0, tensors(&runs[1]).len()]);
            }),
        ),
        flag("--tensors", RESNET, &["", "--tensors"], Same),
    ],
};

pub const VERIFY: Table = Table {
    program: "percept-weights",
    command: "verify",
    inputs: of_verify,
    flags: &[flag(
        "--tolerance",
        "verify @in/whole.safetensors @in/changed.safetensors",
        &["", "--tolerance 1e-9", "--tolerance 10"],
        Shows(|runs| {
            runs[0].fails(1, &["0.bias: relative error", "1 of them differ"]);
            runs[1].fails(1, &["0.bias: relative error", "1 of them differ"]);
            assert!(runs[2].succeeded().ended.stdout.contains(" 0 of them differ, relative error at most "));
        }),
    )],
};

const TRUNK: &str =
    "bundle -o b/x.bundle.json --encoder @demo/encoder.safetensors --decoder @demo/decoder_trunk.safetensors";
const NO_ENCODER: &str = "bundle -o b/x.bundle.json --decoder @demo/decoder_trunk.safetensors";
const NO_DECODER: &str = "bundle -o b/x.bundle.json --encoder @demo/encoder.safetensors";
const NO_OUTPUT: &str = "bundle --encoder @demo/encoder.safetensors --decoder @demo/decoder_trunk.safetensors";

pub const BUNDLE: Table = Table {
    program: "percept-weights",
    command: "bundle",
    inputs: of_bundle,
    flags: &[
        flag(
            "--encoder",
            NO_ENCODER,
            &["--encoder @demo/encoder.safetensors", "--encoder @in/other.safetensors"],
            Shows(|runs| {
                assert_bundles(runs, "encoder", &["encoder.safetensors".into(), "other.safetensors".into()]);
            }),
        ),
        flag(
            "--head",
            TRUNK,
            &["", "--head @demo/head.safetensors"],
            Shows(|runs| {
                assert_bundles(runs, "head", &[Value::Null, "head.safetensors".into()]);
                assert_bundles(runs, "layer", &["trunk".into(), "head".into()]);
            }),
        ),
        flag(
            "--decoder",
            NO_DECODER,
            &["--decoder @demo/decoder_trunk.safetensors", "--decoder @demo/decoder_head.safetensors"],
            Shows(|runs| {
                assert_bundles(
                    runs,
                    "decoder",
                    &["decoder_trunk.safetensors".into(), "decoder_head.safetensors".into()],
                );
            }),
        ),
        flag(
            "--preprocessing",
            TRUNK,
            &["", "--preprocessing squash", "--preprocessing imagenet"],
            Shows(|runs| {
                let prepared =
                    ["rcdm", "squash", "imagenet"].map(|preset| serde_json::json!({"preset": preset, "size": 64}));
                assert_bundles(runs, "preprocessing", &prepared);
            }),
        ),
        flag(
            "--image-size",
            TRUNK,
            &["", "--image-size 65", "--image-size 96"],
            Shows(|runs| {
                let prepared = [64, 65, 96].map(|size| serde_json::json!({"preset": "rcdm", "size": size}));
                assert_bundles(runs, "preprocessing", &prepared);
            }),
        ),
        flag(
            "--output",
            NO_OUTPUT,
            &["-o a/x.bundle.json", "--output b/y.bundle.json"],
            Shows(|runs| {
                assert!(runs[0].names().contains(&"a/x.bundle.json"), "{:?}", runs[0].names());
                assert!(runs[1].names().contains(&"b/y.bundle.json"), "{:?}", runs[1].names());
            }),
        ),
    ],
};

/// Opens a file of a run, and passes it to `look`.
fn opened<T>(run: &Run, name: &str, look: impl FnOnce(&percept::weights::OpenModel) -> T) -> T {
    let folder = Folder::new();
    folder.write("m.safetensors", run.succeeded().files.get(name).unwrap_or_else(|| panic!("{}: no {name}", run.line)));
    look(&OpenModel::open(folder.path("m.safetensors")).expect("a model file"))
}

fn metadata(run: &Run, name: &str, key: &str) -> Option<String> {
    opened(run, name, |model| model.metadata(key).map(str::to_string))
}

fn json(run: &Run, key: &str) -> Value {
    let text = metadata(run, "m.safetensors", key).unwrap_or_else(|| panic!("{}: no {key}", run.line));
    serde_json::from_str(&text).expect("JSON")
}

fn config(run: &Run) -> Value {
    json(run, "percept.config")
}

fn preprocessing(run: &Run) -> Value {
    json(run, "percept.preprocessing")
}

fn tensors(run: &Run) -> Vec<String> {
    opened(run, "m.safetensors", WeightSource::tensors)
}

/// Asserts that the bundles of the runs have these values under a key.
fn assert_bundles(runs: &[Run], key: &str, values: &[Value]) {
    let bundle = |run: &Run| -> Value {
        serde_json::from_slice(&run.succeeded().files["b/x.bundle.json"]).expect("a bundle is JSON")
    };
    let got: Vec<Value> = runs.iter().map(|run| bundle(run)[key].clone()).collect();
    assert_eq!(got, values, "{key}");
    // The files are in the bundle's folder.
    for run in runs {
        for file in
            ["encoder", "head", "decoder"].iter().filter_map(|role| Some(bundle(run)[role].as_str()?.to_string()))
        {
            assert!(run.files.contains_key(&format!("b/{file}")), "{}: no {file}", run.line);
        }
    }
}

fn of_convert(folder: &Folder) {
    folder.write("32.json", r#"{"image_size": 32, "num_heads": 4}"#);
    folder.write("64.json", r#"{"image_size": 64, "num_heads": 4}"#);
    folder.write("same.json", r#"{"image_size": 32}"#);
    // Sets every flag in which the presets differ, except the schedule.
    let all = r#"{"image_size": 32, "num_heads": 4, "num_head_channels": -1, "num_channels": 32, "num_res_blocks": 1,
        "class_cond": false, "conditioning": "time_embedding", "attention_resolutions": "16,8", "channel_mult": "1,1,1"}"#;
    folder.write("all.json", all);
    let head = fs::read(asset("head.safetensors")).expect("the demo's head");
    folder.write("faulty.safetensors", replaced(&head, "\"0.bias\":{", "\"0.bios\":{"));
}

fn of_verify(folder: &Folder) {
    let mut head = fs::read(asset("head.safetensors")).expect("the demo's head");
    folder.write("whole.safetensors", &head);
    // The first element of the first tensor, in half precision.
    let begin = 8 + u64::from_le_bytes(head[..8].try_into().expect("eight bytes")) as usize;
    head[begin..begin + 2].copy_from_slice(&[0, 0x3c]);
    folder.write("changed.safetensors", head);
}

fn of_bundle(folder: &Folder) {
    fs::copy(asset("encoder.safetensors"), folder.path("other.safetensors")).expect("a copy");
}

/// Replaces a text in the bytes by another of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let place = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect("the text");
    [&bytes[..place], to.as_bytes(), &bytes[place + from.len()..]].concat()
}

#[test]
fn every_flag_before_a_command_of_percept_weights_is_felt() {
    check(&PERCEPT_WEIGHTS);
}

#[test]
fn every_flag_of_inspect_is_felt() {
    check(&INSPECT);
}

#[test]
fn every_flag_of_convert_is_felt() {
    check(&CONVERT);
}

#[test]
fn every_flag_of_verify_is_felt() {
    check(&VERIFY);
}

#[test]
fn every_flag_of_bundle_is_felt() {
    check(&BUNDLE);
}
