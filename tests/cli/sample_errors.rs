//! Tests arguments that `percept sample` refuses before any work, without leaving files.

use std::fs;
use std::path::PathBuf;

use crate::{Folder, asset};

/// Returns a picture that can be read.
fn disc() -> PathBuf {
    asset("images/1_disc.png")
}

#[test]
fn impossible_options() {
    let folder = Folder::new();
    let cases: [(&str, &[&str]); 17] = [
        ("--steps ddim300", &["--steps", "ddim250", "ddim334", "got \"ddim300\""]),
        ("--steps ddim1", &["--steps", "at least ddim2"]),
        ("--steps 1001", &["--steps", "at most 1000 steps", "1001"]),
        ("--steps 0", &["--steps", "at least one step"]),
        ("--steps 10,many", &["--steps", "ddimN", "10,many"]),
        ("--sampler ddpm --steps 2000", &["--steps", "at most 1000 steps"]),
        ("--eta 2", &["--eta", "from 0 to 1", "got 2"]),
        ("--eta -0.5", &["--eta", "from 0 to 1", "got -0.5"]),
        ("--eta NaN", &["--eta", "from 0 to 1", "got NaN"]),
        ("--sampler ddpm --eta 0.5", &["--eta", "0 with ddpm"]),
        ("--class 3", &["--class", "decoder_trunk.safetensors is not class-conditional", "got 3"]),
        ("--device abacus", &["--device", "auto, cpu, reference, gpu or a part", "abacus"]),
        ("--device reference --threads 2", &["--threads", "--device cpu"]),
        ("--samples 4294967295", &["at most", "pixels", "fewer pictures"]),
        ("-o grid.jpg", &["-o grid.jpg", ".png or .npz", "got .jpg"]),
        ("-o grid", &["-o grid", ".png or .npz"]),
        ("-o none/grid.png", &["-o none/grid.png", "none to be a folder", "no such folder"]),
    ];
    for (line, saying) in cases {
        folder.percept_fails(&format!("sample {line}"), &[disc()], saying);
    }
}

#[test]
fn the_device_of_the_environment() {
    let folder = Folder::new();
    let ended = percept_tests::output(folder.command("percept").arg("sample").env("PERCEPT_DEVICE", "abacus"));
    assert_eq!(ended.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("PERCEPT_DEVICE") && stderr.contains("abacus"), "{stderr}");
}

#[test]
fn unreadable_pictures() {
    let folder = Folder::new();
    let whole = fs::read(disc()).expect("a picture of the demo");
    folder.write("cut.png", &whole[..whole.len() / 2]);
    folder.write("text.png", "not a picture at all");
    folder.write("empty.png", "");
    fs::create_dir(folder.path("folder.png")).expect("a folder");
    for (name, saying) in [
        ("missing.png", ["missing.png", "a readable PNG or JPEG file"]),
        ("cut.png", ["cut.png", "a complete PNG picture"]),
        ("text.png", ["text.png", "a PNG or JPEG picture"]),
        ("empty.png", ["empty.png", "an empty file"]),
        ("folder.png", ["folder.png", "a folder with a .png, .jpg or .jpeg"]),
    ] {
        // The picture before it can be read, but no work starts.
        folder.percept_fails("sample", &[disc(), name.into()], &saying);
    }
}

#[test]
fn outputs_that_would_do_harm() {
    let folder = Folder::new();
    folder.write("mine.png", fs::read(disc()).expect("a picture of the demo"));
    folder.percept_fails("sample mine.png -o ./mine.png", &[], &["-o ./mine.png", "another file than the pictures"]);
    fs::create_dir(folder.path("folder.png")).expect("a folder");
    folder.percept_fails("sample mine.png -o folder.png", &[], &["-o folder.png", "a file's name", "a folder"]);
    assert_eq!(folder.read("mine.png"), fs::read(disc()).expect("a picture of the demo"));
}

#[test]
fn an_old_output_stays_where_a_run_fails() {
    let folder = Folder::new();
    folder.write("percept.png", "mine");
    folder.percept_fails("sample --steps ddim300", &[disc()], &["--steps"]);
    assert_eq!(folder.read("percept.png"), b"mine");
}

#[test]
fn bundles_that_are_none() {
    let folder = Folder::new();
    let bundle = |text: &str| folder.write("x.bundle.json", text);
    let fails = |saying: &[&str]| folder.percept_fails("sample --bundle x.bundle.json", &[disc()], saying);
    fails(&["x.bundle.json", "a readable bundle file"]);
    bundle("{");
    fails(&["x.bundle.json", "a bundle: JSON with version"]);
    bundle(r#"{"version": 2, "encoder": "e.safetensors", "head": null, "decoder": "d.safetensors"}"#);
    fails(&["x.bundle.json", "version 1", "version 2"]);
    bundle(r#"{"version": 1, "encoder": "e.safetensors", "head": null, "decoder": "d.safetensors", "layer": "head"}"#);
    fails(&["x.bundle.json", "layer: a layer of the encoder, for there is no head"]);
    bundle(r#"{"version": 1, "encoder": "e.safetensors", "head": null, "decoder": "d.safetensors"}"#);
    fails(&["e.safetensors", "a readable .safetensors file"]);
    folder.percept_fails("sample --bundle .", &[disc()], &["a readable bundle file"]);
}
