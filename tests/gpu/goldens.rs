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

/// One golden of each kind of model, and one sampling run. An upsampler is a UNet with one kernel more.
const KINDS: [&str; 6] =
    ["resnet18_64", "vit_tiny_p16_96", "head_dino", "unet_rcdm_32_cbn", "classifier_attnpool_32", "sampler_cosine_6"];

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

fn of_each_kind() -> Vec<PathBuf> {
    let mut files = goldens();
    files.retain(|file| KINDS.contains(&stem(file)));
    assert_eq!(files.len(), KINDS.len());
    files
}

/// The first adapter runs all goldens. The others run the same shaders, so one golden of each kind tests their drivers.
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

/// The shaders that a graphics card gets, on the first adapter: for networks, since sampling adds no such shader, and small
/// images, since `full_size` runs large ones.
#[test]
fn networks_pass_by_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open_as(&first, as_hardware).expect("a device");
    let mut files = goldens();
    files.retain(|file| !["sampler", "schedules", "preprocess"].iter().any(|kind| stem(file).starts_with(kind)));
    files.retain(|file| !stem(file).ends_with("_224"));
    assert!(files.len() >= 18);
    files.iter().for_each(|file| assert_passes(&gpu, Precision::F32, file));
    ran(&gpu.name(), format!("{} goldens by the variants of hardware", files.len()));
}

/// A network of each kind on the first adapter. A UNet elsewhere: each adapter holds halves as it can, and the variants of
/// hardware hold them in either form. Whole sampling runs have no bound in half precision.
#[test]
fn networks_pass_in_half_precision_on_every_adapter() {
    let adapters = adapters();
    let of_hardware = adapters.first().map(|first| {
        let packed = Gpu::open_as(first, |own| as_packed(as_hardware(own)));
        [Gpu::open_as(first, as_hardware), packed].map(|gpu| gpu.expect("a device"))
    });
    for (index, gpu) in every_gpu().into_iter().chain(of_hardware.into_iter().flatten()).enumerate() {
        let mut files = of_each_kind();
        files.retain(|file| !stem(file).starts_with("sampler") && (index == 0 || stem(file).starts_with("unet")));
        files.iter().for_each(|file| assert_passes(&gpu, Precision::F16, file));
        let held = if gpu.profile().native_f16 { "held by shaders" } else { "packed in words" };
        ran(&gpu.name(), format!("{} goldens in half precision, {held}", files.len()));
    }
}
