//! The goldens that the CPU passes, on every adapter.

use std::path::{Path, PathBuf};

use percept::Precision;
use percept::check::{Options, check};
use percept::gpu::Gpu;
use percept::pipeline::Device;
use percept_tests::{adapters, as_hardware, as_packed, left_out, ran};

use super::every_gpu;

fn goldens() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let entries = std::fs::read_dir(folder).expect("the goldens");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    files
}

fn assert_passes(gpu: &Gpu, precision: Precision, file: &Path) {
    let report = check(file, &Device::from(gpu.clone()).with_precision(precision), &Options::default());
    let report = report.unwrap_or_else(|error| panic!("{} on {}: {error}", file.display(), gpu.name()));
    assert!(report.passed(), "{} on {}: {report:#?}", file.display(), gpu.name());
}

/// Goldens of one model of each kind, and of a sampling run.
const KINDS: [&str; 7] = [
    "resnet18_64",
    "vit_tiny_p16_96",
    "head_dino",
    "unet_rcdm_32_cbn",
    "superres_16_32",
    "classifier_attnpool_32",
    "sampler_ddpm_10",
];

fn of_each_kind() -> Vec<PathBuf> {
    let mut files = goldens();
    files.retain(|file| file.file_stem().is_some_and(|name| KINDS.iter().any(|kind| name == *kind)));
    assert_eq!(files.len(), KINDS.len());
    files
}

/// The first adapter runs all goldens. The others have the same shaders, so one of each kind tests their drivers.
#[test]
fn goldens_pass_on_every_adapter() {
    let all = goldens();
    assert!(all.len() >= 41);
    for (index, gpu) in every_gpu().iter().enumerate() {
        let files = if index == 0 { all.clone() } else { of_each_kind() };
        files.iter().for_each(|file| assert_passes(gpu, Precision::F32, file));
        ran(&gpu.name(), format!("{} goldens", files.len()));
        if index > 0 {
            let reason = "the shaders are those of the first adapter, and only the driver is another";
            left_out(&gpu.name(), format!("{} goldens", all.len() - files.len()), reason);
        }
    }
}

/// By the variants of shaders that a graphics card takes, on the first adapter.
#[test]
fn goldens_pass_by_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open_as(&first, as_hardware).expect("a device");
    let files = goldens();
    files.iter().for_each(|file| assert_passes(&gpu, Precision::F32, file));
    ran(&gpu.name(), format!("{} goldens by the variants of hardware", files.len()));
}

/// As each adapter's shaders hold halves; and on the first by the variants of other devices.
#[test]
fn networks_pass_in_half_precision_on_every_adapter() {
    let adapters = adapters();
    let others = adapters.first().map(|first| {
        let both = Gpu::open_as(first, |own| as_packed(as_hardware(own)));
        [Gpu::open_as(first, as_packed), Gpu::open_as(first, as_hardware), both].map(|gpu| gpu.expect("a device"))
    });
    for gpu in every_gpu().into_iter().chain(others.into_iter().flatten()) {
        let mut files = of_each_kind();
        // Whole sampling runs have no bound in half precision.
        files.retain(|file| !file.ends_with("sampler_ddpm_10.safetensors"));
        files.iter().for_each(|file| assert_passes(&gpu, Precision::F16, file));
        let held = if gpu.profile().native_f16 { "held by shaders" } else { "packed in words" };
        ran(&gpu.name(), format!("{} goldens in half precision, {held}", files.len()));
    }
}
