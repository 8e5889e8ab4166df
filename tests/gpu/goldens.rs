//! Tests the goldens that the CPU passes, on every adapter.

use std::path::{Path, PathBuf};

use percept::Device;
use percept::Precision;
use percept::check::{Options, check};
use percept::device::gpu::Gpu;
use percept_tests::{adapters, as_packed, part, ran};

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

/// A golden of each kind of model. The sampling run stands for UNets and upsamplers.
const KINDS: [&str; 5] = ["resnet18_64", "vit_tiny_p16_96", "head_dino", "classifier_attnpool_32", "sampler_cosine_6"];

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

fn named(names: &[&str]) -> Vec<PathBuf> {
    let mut files = goldens();
    files.retain(|file| names.contains(&stem(file)));
    assert_eq!(files.len(), names.len());
    files
}

/// The first adapter and hardware run all goldens. Other software adapters run half of the kinds: they have the
/// shaders of the first, so only their drivers remain to be tested.
#[test]
fn goldens_pass_on_every_adapter() {
    let all = goldens();
    assert!(all.len() >= 41);
    for (index, adapter) in adapters().iter().enumerate() {
        let gpu = Gpu::open(adapter).expect("a device");
        let files = match index == 0 || !adapter.is_software() {
            true => all.clone(),
            false => part(&named(&KINDS), 2).cloned().collect(),
        };
        files.iter().for_each(|file| assert_passes(&gpu, Precision::F32, file));
        ran(&gpu.name(), format!("{} of {} goldens", files.len(), all.len()));
    }
}

/// A network of each kind. Whole sampling runs have no bound in half precision.
const NETWORKS: [&str; 6] =
    ["unet_rcdm_32_cbn", "resnet18_64", "vit_tiny_p16_96", "head_dino", "superres_16_32", "classifier_attnpool_32"];

/// Hardware runs all of them, the first software adapter three, and other software adapters only the UNet. The first
/// adapter also runs them with halves packed in words; a software one runs only the UNet so.
#[test]
fn networks_pass_in_half_precision_on_every_adapter() {
    let passes = |gpu: &Gpu, names: &[&str]| {
        named(names).iter().for_each(|file| assert_passes(gpu, Precision::F16, file));
        let held = if gpu.capabilities().native_f16 { "held by shaders" } else { "packed in words" };
        ran(&gpu.name(), format!("{} networks in half precision, {held}", names.len()));
    };
    for (index, adapter) in adapters().iter().enumerate() {
        let (own, of_packed) = match (adapter.is_software(), index) {
            (false, 0) => (6, 6),
            (false, _) => (6, 0),
            (true, 0) => (3, 1),
            (true, _) => (1, 0),
        };
        passes(&Gpu::open(adapter).expect("a device"), &NETWORKS[..own]);
        if of_packed > 0 {
            passes(&Gpu::open_as(adapter, as_packed).expect("a device"), &NETWORKS[..of_packed]);
        }
    }
}
