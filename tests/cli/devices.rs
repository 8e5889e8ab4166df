//! Tests `percept devices`.

use std::process::Stdio;

use crate::Folder;

#[test]
fn lists_devices() {
    let folder = Folder::new();
    let listed = folder.percept_succeeds("devices", &[]);
    assert!(listed.lines().any(|line| line.starts_with("cpu ") && line.contains("threads")), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("reference ")), "{listed}");
    assert_eq!(listed.lines().filter(|line| line.contains("taken by auto")).count(), 1, "{listed}");
}

#[test]
fn lists_devices_as_json() {
    let printed = Folder::new().percept_succeeds("devices --json", &[]);
    let json: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let devices = json["devices"].as_array().expect("a list");
    let names: Vec<&str> = devices.iter().filter_map(|device| device["name"].as_str()).collect();
    assert!(names.contains(&"cpu") && names.contains(&"reference"), "{printed}");
    assert!(devices.iter().all(|device| device["description"].is_string()), "{printed}");
    assert!(json["auto"].as_str().is_some_and(|auto| names.contains(&auto)), "{printed}");
}

#[test]
fn does_not_mind_a_reader_that_goes_away() {
    let folder = Folder::new();
    let mut command = folder.command("percept");
    let mut child = command.arg("devices").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let ended = percept_tests::wait(child, &command);
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_command_line_that_is_none_ends_with_2() {
    let lines = [
        "",
        "paint",
        "sample --samples none",
        "sample --samples 0",
        "sample --batch 0",
        "sample --threads 0",
        "sample --sampler plms",
        "sample --bundle x.bundle.json",
        "sample --encoder x.safetensors x.png",
        "sample --head x.safetensors x.png",
        "sample --bundle x.bundle.json --encoder x.safetensors --decoder x.safetensors x.png",
        "sample --upsampler-steps 5",
        "upscale --upsampler x.safetensors",
        "upscale x.png",
        "upscale --upsampler x.safetensors --sampler plms x.png",
        "bench",
        "bench --batch 0 x.safetensors",
        "check",
        "check --precision f64 x.safetensors",
    ];
    for line in lines {
        let ended = Folder::new().percept(line, &[]);
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("Usage: percept") || ended.stderr.contains("try '--help'"), "{}", ended.stderr);
    }
}
