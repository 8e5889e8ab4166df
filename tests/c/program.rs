//! Tests that the C program `examples/c/sample.c` does what its documentation says.
//!
//! It uses POSIX threads and is built with `cc`; other systems have neither.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use percept::images;
use percept::{Bundle, Device, Method, SampleOptions};
use percept_tests::output;
use tempfile::TempDir;

use crate::{asset, root};

/// Returns the C program, compiled against the static library that Cargo built with this test.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        let folder = test.parent().expect("a folder");
        let program = folder.join("percept-sample-c");
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]).arg(root().join("engine/c"));
        cc.arg(root().join("examples/c/sample.c")).arg(folder.join("libpercept_c.a"));
        succeeds(&output(cc.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program)));
        program
    })
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the program on a picture of the demo. Returns its output, and the file that it wrote.
fn run(mode: &str) -> (String, Vec<u8>) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("samples.ppm");
    let mut command = Command::new(program());
    command.arg(asset("trunk.bundle.json")).arg(asset("images/4_star.png")).arg(&file).arg(mode);
    let output = output(&mut command);
    succeeds(&output);
    (String::from_utf8_lossy(&output.stdout).into_owned(), fs::read(&file).expect("a file"))
}

/// Returns the file that the program must write: the same run, in Rust.
fn expected() -> Vec<u8> {
    let device = Device::named("auto").expect("a device");
    let mut bundle = Bundle::open(asset("trunk.bundle.json"), &device).expect("a bundle");
    let picture = images::open(asset("images/4_star.png")).expect("a picture");
    let h = bundle.encoder.encode(&picture).expect("a representation");
    let options = SampleOptions { samples: 2, method: Method::ddpm(4), seed: 1, ..SampleOptions::default() };
    let images = bundle.rcdm.sample(&h, &options).expect("images");
    let mut file = b"P6\n64 32\n255\n".to_vec();
    for line in 0..32 {
        images.iter().for_each(|image| file.extend_from_slice(&image.as_raw()[line * 96..(line + 1) * 96]));
    }
    file
}

#[test]
fn a_c_program_samples_and_goes_on_from_a_state() {
    let (told, samples) = run("");
    assert_eq!(told, "done: 2 images, step 4 of 4\n");
    assert!(samples == expected());
    assert!(run("resume") == (told, samples));
}

#[test]
fn another_thread_cancels() {
    let (told, samples) = run("cancel");
    assert!(told.starts_with("cancelled: 0 images, "), "{told}");
    assert_eq!(samples, b"P6\n0 32\n255\n");
}

#[test]
fn what_cannot_be_done_has_a_message() {
    for (bundle, picture, names) in [("nowhere.bundle.json", "x.png", "nowhere.bundle.json"), ("", "x.png", "x.png")] {
        let bundle = if bundle.is_empty() { asset("trunk.bundle.json") } else { bundle.into() };
        let output = output(Command::new(program()).arg(bundle).args([picture, "never.ppm"]));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("percept: ") && told.contains(names), "{told}");
    }
}
