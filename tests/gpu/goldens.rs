//! The goldens that the CPU passes, on every adapter; the larger ones on the first alone.

use std::path::{Path, PathBuf};

use percept::check::{Options, check};
use percept::gpu::Gpu;
use percept::pipeline::Device;

use super::every_gpu;

/// What every adapter runs: one of each kind of model and sampler.
const EVERYWHERE: &[&str] = &["head_simclr", "resnet18_64", "unet_rcdm_32", "sampler_ddim_10"];

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
    for (index, gpu) in every_gpu().iter().enumerate() {
        let wanted = |file: &PathBuf| {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            index == 0 || EVERYWHERE.contains(&stem)
        };
        let files: Vec<PathBuf> = goldens().into_iter().filter(wanted).collect();
        assert!(files.len() >= EVERYWHERE.len());
        files.iter().for_each(|file| assert_passes(gpu, file));
        println!("{}: {} goldens", gpu.name(), files.len());
    }
}
