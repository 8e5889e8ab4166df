//! The goldens that the CPU passes, on every adapter.

use std::path::{Path, PathBuf};

use percept::Precision;
use percept::check::{Options, check};
use percept::gpu::Gpu;
use percept::gpu::dispatch::Profile;
use percept::pipeline::Device;
use percept_tests::{adapters, as_hardware, as_packed, part, parts_on, ran};

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

/// Goldens of one forward pass of a network.
fn networks() -> Vec<PathBuf> {
    let mut files = goldens();
    files.retain(|file| !["sampler", "schedules", "preprocess"].iter().any(|kind| stem(file).starts_with(kind)));
    assert!(files.len() >= 20);
    files
}

/// The first adapter and hardware run all goldens. Other software adapters run half of the kinds: they have the shaders of the
/// first, so only their drivers remain to be tested.
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

/// The variants of shaders that a graphics card takes, on the first adapter: all networks on hardware, half of them on
/// software. Sampling has no other variants.
#[test]
fn networks_pass_by_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open_as(&first, as_hardware).expect("a device");
    let all = networks();
    let files = part(&all, parts_on(&first, 2));
    ran(&gpu.name(), format!("{} of {} networks by the variants of hardware", files.len(), all.len()));
    files.for_each(|file| assert_passes(&gpu, Precision::F32, file));
}

/// A network of each kind. Whole sampling runs have no bound in half precision.
const NETWORKS: [&str; 6] =
    ["unet_rcdm_32_cbn", "resnet18_64", "vit_tiny_p16_96", "head_dino", "superres_16_32", "classifier_attnpool_32"];

/// Hardware runs all of them. The first software adapter runs three, and other software adapters only the UNet. The first
/// adapter also runs the variants of other devices; a software one runs those of hardware, with the UNet.
#[test]
fn networks_pass_in_half_precision_on_every_adapter() {
    let variants: [fn(Profile) -> Profile; 3] = [as_hardware, as_packed, |own| as_packed(as_hardware(own))];
    let passes = |gpu: &Gpu, names: &[&str]| {
        named(names).iter().for_each(|file| assert_passes(gpu, Precision::F16, file));
        let held = if gpu.profile().native_f16 { "held by shaders" } else { "packed in words" };
        ran(&gpu.name(), format!("{} networks in half precision, {held}", names.len()));
    };
    for (index, adapter) in adapters().iter().enumerate() {
        let (own, of_variants, variants) = match (adapter.is_software(), index) {
            (false, 0) => (6, 6, &variants[..]),
            (false, _) => (6, 0, &[][..]),
            (true, 0) => (3, 1, &variants[..1]),
            (true, _) => (1, 0, &[][..]),
        };
        passes(&Gpu::open(adapter).expect("a device"), &NETWORKS[..own]);
        for variant in variants {
            passes(&Gpu::open_as(adapter, variant).expect("a device"), &NETWORKS[..of_variants]);
        }
    }
}
