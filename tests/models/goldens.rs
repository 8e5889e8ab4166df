//! Every golden file, on the CPU path and, where it ends soon, by the twins.

use std::path::{Path, PathBuf};

use percept::check::{Options, Report, check};
use percept::pipeline::Device;

/// The goldens of a folder, in order.
fn goldens(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder's entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    files
}

fn assert_passes(device: &Device, file: &Path) -> Report {
    let report = check(file, device, &Options::default()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for tensor in &report.tensors {
        println!("{} {} {:.1e} (bound {:.0e})", file.display(), tensor.name, tensor.error, tensor.bound);
    }
    assert!(report.passed(), "{report:#?}");
    report
}

#[test]
fn goldens_pass_on_the_cpu() {
    let device = Device::cpu().expect("a CPU");
    let files = goldens("goldens");
    assert!(files.len() >= 29, "goldens are missing: {files:?}");
    for file in files {
        assert_passes(&device, &file);
    }
}

/// Whole runs of the trained demo models, and their encoder and head.
#[test]
fn demo_goldens_pass_on_the_cpu() {
    let device = Device::cpu().expect("a CPU");
    let files = goldens("../examples/assets/goldens");
    assert!(files.len() >= 5, "goldens are missing: {files:?}");
    for file in files {
        assert_passes(&device, &file);
    }
}

#[test]
fn small_goldens_pass_by_the_twins() {
    let small = [
        "head_",
        "unet_",
        "superres_",
        "classifier_",
        "resnet18",
        "vit_",
        "dinov2_",
        "sampler_ddim_reverse",
        "sampler_fixed_large",
        "sampler_predict",
    ];
    let is_small = |file: &PathBuf| small.iter().any(|name| file.to_string_lossy().contains(name));
    let files: Vec<PathBuf> = goldens("goldens").into_iter().filter(is_small).collect();
    assert!(files.len() >= 20, "goldens are missing: {files:?}");
    for file in files {
        assert_passes(&Device::Reference, &file);
    }
}

/// The check itself has to be able to fail.
#[test]
fn a_wrong_golden_fails() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good =
        goldens("goldens").into_iter().find(|file| file.ends_with("head_simclr.safetensors")).expect("the golden");
    let mut bytes = std::fs::read(good).expect("a readable golden");
    // The last four bytes are an element of out.head or in.trunk: either way the result is another.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&(1.0e3f32).to_le_bytes());
    let file = folder.path().join("wrong.safetensors");
    std::fs::write(&file, &bytes).expect("a writable folder");
    let report = check(&file, &Device::Reference, &Options::default()).expect("a golden that can be run");
    assert!(!report.passed(), "{report:?}");

    // NaN never passes.
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, &bytes).expect("a writable folder");
    match check(&file, &Device::Reference, &Options::default()) {
        Ok(report) => assert!(!report.passed(), "{report:?}"),
        Err(error) => assert!(error.to_string().contains("NaN"), "{error}"),
    }
}
