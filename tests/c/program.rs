//! The C interface: its header is that of its source, and the C program that uses it does what it says.
//!
//! The program has threads of POSIX and is built by `cc`; other systems have neither.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use percept::pipeline::{Bundle, Device, Method, SampleOptions, image_file};
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_header_is_that_of_the_source() {
    let folder = root().join("engine/c");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("a configuration");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(folder.join("src/lib.rs")).generate();
    let mut want = Vec::new();
    bindings.expect("a header").write(&mut want);
    let got = fs::read(folder.join("percept.h")).unwrap_or_default();
    let want = String::from_utf8(want).expect("text");
    assert!(
        String::from_utf8_lossy(&got) == want,
        "engine/c/percept.h is old: cbindgen --config engine/c/cbindgen.toml engine/c/src/lib.rs makes\n{want}"
    );
}

/// The C program, compiled against the static library.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        let profile = test.parent().and_then(Path::parent).expect("tests run in target/<profile>/deps");
        let target = profile.parent().expect("target");
        let name = profile.file_name().expect("a profile's folder").to_string_lossy();
        // Cargo builds no library for a test that it is not linked into.
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(root()).args(["build", "--workspace", "--lib", "--target-dir"]).arg(target);
        cargo.args(["--profile", if name == "debug" { "dev" } else { &name }]);
        succeeds(&cargo.output().expect("cargo runs"));

        let program = profile.join("percept-sample-c");
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]).arg(root().join("engine/c"));
        cc.arg(root().join("examples/c/sample.c")).arg(profile.join("libpercept_c.a"));
        succeeds(&cc.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program).output().expect("a C compiler"));
        program
    })
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the program on a picture of the demo; what it printed, and the file that it wrote.
fn run(mode: &str) -> (String, Vec<u8>) {
    let assets = root().join("examples/assets");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("samples.ppm");
    let mut command = Command::new(program());
    command.arg(assets.join("trunk.bundle.json")).arg(assets.join("images/4_star.png")).arg(&file);
    let output = command.arg(mode).output().expect("the program starts");
    succeeds(&output);
    (String::from_utf8_lossy(&output.stdout).into_owned(), fs::read(&file).expect("a file"))
}

/// What the program has to write: the same run, in Rust.
fn expected() -> Vec<u8> {
    let assets = root().join("examples/assets");
    let device = Device::named("auto").expect("a device");
    let mut bundle = Bundle::open(&assets.join("trunk.bundle.json"), &device).expect("a bundle");
    let picture = image_file::open(assets.join("images/4_star.png")).expect("a picture");
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
        let assets = root().join("examples/assets");
        let bundle = if bundle.is_empty() { assets.join("trunk.bundle.json") } else { bundle.into() };
        let output = Command::new(program()).arg(bundle).args([picture, "never.ppm"]).output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("percept: ") && told.contains(names), "{told}");
    }
}
