//! The goldens that the CPU passes, on every adapter.

use std::path::{Path, PathBuf};

use percept::check::{Options, check};
use percept::gpu::Gpu;
use percept::pipeline::Device;
use percept_tests::{adapters, ran};

use super::every_gpu;

fn goldens() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let entries = std::fs::read_dir(folder).expect("the goldens");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    files
}

fn assert_passes(gpu: &Gpu, file: &Path) {
    let report = check(file, &Device::Gpu(gpu.clone()), &Options::default());
    let report = report.unwrap_or_else(|error| panic!("{} on {}: {error}", file.display(), gpu.name()));
    assert!(report.passed(), "{} on {}: {report:#?}", file.display(), gpu.name());
}

#[test]
fn goldens_pass_on_every_adapter() {
    let files = goldens();
    assert!(files.len() >= 29);
    for gpu in every_gpu() {
        files.iter().for_each(|file| assert_passes(&gpu, file));
        ran(&gpu.name(), format!("{} goldens", files.len()));
    }
}

/// By the variants of shaders that a graphics card takes, on the first adapter.
#[test]
fn goldens_pass_by_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open_as_hardware(&first).expect("a device");
    let files = goldens();
    files.iter().for_each(|file| assert_passes(&gpu, file));
    ran(&gpu.name(), format!("{} goldens by the variants of hardware", files.len()));
}
