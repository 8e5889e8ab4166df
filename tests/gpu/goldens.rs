//! The goldens that the CPU passes, on every adapter.

use std::path::{Path, PathBuf};

use percept::Precision;
use percept::check::{Options, check};
use percept::gpu::Gpu;
use percept::pipeline::Device;
use percept_tests::{adapters, as_hardware, left_out, part, ran};

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

/// A golden of each kind of model: a sampling run for UNets, of which an upsampler is one with one kernel more.
const KINDS: [&str; 5] = ["resnet18_64", "vit_tiny_p16_96", "head_dino", "classifier_attnpool_32", "sampler_cosine_6"];

/// Networks to run in half precision, in which whole sampling runs have no bound.
const NETWORKS: [&str; 3] = ["resnet18_64", "vit_tiny_p16_96", "unet_rcdm_32_cbn"];

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

fn named(names: &[&str]) -> Vec<PathBuf> {
    let mut files = goldens();
    files.retain(|file| names.contains(&stem(file)));
    assert_eq!(files.len(), names.len());
    files
}

/// All goldens, but for the images of 224 pixels on software adapters, for which a driver compiles as many shaders again.
fn all_for(is_software: bool) -> Vec<PathBuf> {
    let mut files = goldens();
    assert!(files.len() >= 41);
    files.retain(|file| !is_software || !stem(file).ends_with("_224"));
    files
}

/// The first adapter runs all goldens. The others run the same shaders, so half of the kinds test their drivers.
#[test]
fn goldens_pass_on_every_adapter() {
    for (index, gpu) in every_gpu().iter().enumerate() {
        let all = all_for(gpu.profile().software);
        let files = if index == 0 { all.clone() } else { part(&named(&KINDS), 2).cloned().collect() };
        files.iter().for_each(|file| assert_passes(gpu, Precision::F32, file));
        ran(&gpu.name(), format!("{} goldens", files.len()));
        if index > 0 {
            let reason = "the shaders are those of the first adapter, and only the driver is another";
            left_out(&gpu.name(), format!("{} goldens", all.len() - files.len()), reason);
        }
    }
}

/// The shaders that a graphics card gets, on the first adapter: half of the networks, to which sampling adds no such shader.
#[test]
fn networks_pass_by_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open_as(&first, as_hardware).expect("a device");
    let mut files = all_for(first.is_software());
    files.retain(|file| !["sampler", "schedules", "preprocess"].iter().any(|kind| stem(file).starts_with(kind)));
    assert!(files.len() >= 18);
    let files = part(&files, 2);
    ran(&gpu.name(), format!("{} goldens by the variants of hardware", files.len()));
    files.for_each(|file| assert_passes(&gpu, Precision::F32, file));
}

/// Three networks on the first adapter; a UNet on the others, each of which holds halves as it can, and by the
/// variants of hardware.
#[test]
fn networks_pass_in_half_precision_on_every_adapter() {
    let of_hardware = adapters().first().map(|first| Gpu::open_as(first, as_hardware).expect("a device"));
    for (index, gpu) in every_gpu().into_iter().chain(of_hardware).enumerate() {
        let files = named(if index == 0 { &NETWORKS } else { &NETWORKS[2..] });
        files.iter().for_each(|file| assert_passes(&gpu, Precision::F16, file));
        let held = if gpu.profile().native_f16 { "held by shaders" } else { "packed in words" };
        ran(&gpu.name(), format!("{} goldens in half precision, {held}", files.len()));
    }
}
