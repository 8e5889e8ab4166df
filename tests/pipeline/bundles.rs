//! Tests that errors of invalid bundles name the file and the expected content.

use std::fs;
use std::path::{Path, PathBuf};

use percept::Error;
use percept::error::Mismatch;
use percept::weights::Synthetic;
use percept::{Bundle, Rcdm};
use percept_tests::{write_rcdm_of_64, write_synthetic};
use serde_json::{Value, json};

use crate::model_files::{asset, cpu, write_changed};

/// Creates a folder with the demo's model files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["encoder", "head", "decoder_trunk", "decoder_head"] {
        let file = format!("{file}.safetensors");
        fs::copy(asset(&file), folder.path().join(&file)).expect("a copy");
    }
    folder
}

/// Returns the demo's bundle of a layer, with some of its fields replaced.
fn bundle(layer: &str, changes: Value) -> Value {
    let text = fs::read_to_string(asset(&format!("{layer}.bundle.json"))).expect("a bundle");
    let mut bundle: Value = serde_json::from_str(&text).expect("JSON");
    for (field, value) in changes.as_object().expect("fields") {
        bundle[field] = value.clone();
    }
    bundle
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("test.bundle.json");
    fs::write(&path, text).expect("a writable folder");
    path
}

#[track_caller]
fn refused(path: &Path) -> Error {
    Bundle::open(path, &cpu()).err().unwrap_or_else(|| panic!("{}: taken", path.display()))
}

#[track_caller]
fn file_error(path: &Path) -> Mismatch {
    match refused(path) {
        Error::File(mismatch) => mismatch,
        other => panic!("not a file's error: {other}"),
    }
}

#[test]
fn what_is_no_bundle_is_refused() {
    let folder = folder();
    let missing = folder.path().join("missing.bundle.json");
    for path in [&missing, folder.path()] {
        let told = file_error(path);
        assert_eq!((told.at, told.expected), (path.display().to_string(), "a readable bundle file".to_string()));
    }
    let fields = "a bundle: JSON with version, encoder, head or null, decoder, preprocessing, layer";
    let text = |bundle: Value| bundle.to_string();
    let cases = [
        (String::new(), fields, "EOF"),
        ("encoder.safetensors".to_string(), fields, "line 1"),
        (text(json!({})), fields, "version"),
        (text(json!({"version": 1, "encoder": "encoder.safetensors"})), fields, "decoder"),
        (text(bundle("trunk", json!({"encoder": 7}))), fields, "string"),
        (text(bundle("trunk", json!({"version": -1}))), fields, "-1"),
        (text(bundle("trunk", json!({"preprocessing": {"preset": "dino", "size": 64}}))), fields, "dino"),
        (text(bundle("trunk", json!({"preprocessing": {"preset": "rcdm", "size": 0}}))), fields, "1 to 2048 pixels"),
        (text(bundle("trunk", json!({"version": 2}))), "a bundle of version 1", "version 2"),
        // A later version may have other fields, so the error must name the version.
        (text(json!({"version": 2, "models": []})), "a bundle of version 1", "version 2"),
        (
            text(bundle("trunk", json!({"layer": "head"}))),
            "layer: a layer of the encoder, for there is no head",
            "head",
        ),
        (text(bundle("head", json!({"layer": "trunk"}))), "layer: one of the head, which is given", "trunk"),
        (text(bundle("head", json!({"layer": "layer4"}))), "layer: one of the head, which is given", "layer4"),
        (text(bundle("trunk", json!({"layer": "layer9"}))), "layer: one of stem, layer1", "layer9"),
        (text(bundle("head", json!({"layer": "head.7"}))), "layer: one of head.0, head.1", "head.7"),
    ];
    for (text, expected, got) in cases {
        let path = write(folder.path(), &text);
        let told = file_error(&path);
        assert_eq!(told.at, path.display().to_string(), "{text}");
        assert!(told.expected.contains(expected) && told.got.contains(got), "{text}: {told}");
    }
    // The unchanged bundles are valid, also without the optional fields.
    for (layer, changes) in [("trunk", json!({})), ("head", json!({"layer": null, "preprocessing": null}))] {
        let path = write(folder.path(), &bundle(layer, changes).to_string());
        assert_eq!(Bundle::open(&path, &cpu()).expect("a bundle").layer, layer);
    }
}

#[test]
fn files_that_do_not_go_together_are_named() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    let norm = r#""1.weight": [7], "1.bias": [7], "1.running_mean": [7], "1.running_var": [7]"#;
    let narrow = format!(r#"{{"0.weight": [7, 128], "0.bias": [7], {norm}, "3.weight": [5, 7], "3.bias": [5]}}"#);
    let narrow = Synthetic::from_json(&narrow).expect("shapes");
    write_synthetic(&file("narrow.safetensors"), "head", r#"{"head": "vicreg", "dims": [128, 7, 5]}"#, &narrow);
    write_rcdm_of_64(&file("other.safetensors"));
    let cut = fs::read(file("decoder_trunk.safetensors")).expect("a file");
    fs::write(file("cut.safetensors"), &cut[..cut.len() / 2]).expect("a writable folder");
    fs::write(file("text.safetensors"), "a text").expect("a writable folder");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/head_byol.safetensors");
    fs::copy(golden, file("golden.safetensors")).expect("a copy");
    fs::create_dir(file("folder.safetensors")).expect("a folder");

    let readable = "a readable .safetensors file";
    let cases = [
        ("trunk", json!({"encoder": "gone.safetensors"}), "gone.safetensors", readable, ""),
        ("trunk", json!({"decoder": "gone.safetensors"}), "gone.safetensors", readable, ""),
        ("head", json!({"head": "gone.safetensors"}), "gone.safetensors", readable, ""),
        ("trunk", json!({"encoder": "folder.safetensors"}), "folder.safetensors", "a .safetensors file", "folder"),
        ("trunk", json!({"decoder": "cut.safetensors"}), "cut.safetensors", "a whole .safetensors file", "missing"),
        ("trunk", json!({"decoder": "text.safetensors"}), "text.safetensors", "a .safetensors file", ""),
        ("trunk", json!({"decoder": "golden.safetensors"}), "golden.safetensors", "metadata \"percept.kind\"", "none"),
        ("trunk", json!({"encoder": "head.safetensors"}), "head.safetensors", "a model of kind \"resnet\"", "\"head\""),
        ("trunk", json!({"decoder": "encoder.safetensors"}), "encoder.safetensors", "of kind \"unet\"", "\"resnet\""),
        (
            "head",
            json!({"head": "decoder_head.safetensors"}),
            "decoder_head.safetensors",
            "of kind \"head\"",
            "\"unet\"",
        ),
        (
            "trunk",
            json!({"decoder": "other.safetensors"}),
            "other.safetensors",
            "a decoder for the 256 elements of the encoder's trunk",
            "one for 64",
        ),
        (
            "head",
            json!({"decoder": "other.safetensors"}),
            "other.safetensors",
            "a decoder for the 256 elements of the encoder's head",
            "one for 64",
        ),
        (
            "head",
            json!({"head": "narrow.safetensors"}),
            "narrow.safetensors",
            "a head for the encoder's 256 features",
            "one for 128",
        ),
    ];
    for (layer, changes, named, expected, got) in cases {
        let told = file_error(&write(folder.path(), &bundle(layer, changes.clone()).to_string()));
        assert_eq!(told.at, file(named).display().to_string(), "{changes}");
        assert!(told.expected.contains(expected) && told.got.contains(got), "{changes}: {told}");
    }
}

#[test]
fn weights_that_are_not_the_configurations_are_listed_with_the_file() {
    let folder = folder();
    let path = folder.path().join("renamed.safetensors");
    write_changed(&asset("decoder_trunk.safetensors"), &path, "out.0.bias", 0.0, "output.0.bias");
    match refused(&write(folder.path(), &bundle("trunk", json!({"decoder": "renamed.safetensors"})).to_string())) {
        Error::Weights(report) => {
            assert!(report.model.contains(&path.display().to_string()), "{report}");
            assert_eq!(report.missing, [("out.0.bias".to_string(), Some("output.0.bias".to_string()))]);
            assert_eq!((report.unexpected, report.misshaped), (vec!["output.0.bias".to_string()], vec![]));
        }
        other => panic!("{other}"),
    }
    // A decoder is checked in the same way if it is opened alone.
    assert!(matches!(Rcdm::open(&path, &cpu()), Err(Error::Weights(_))));
}
