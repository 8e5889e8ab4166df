//! Tests that pictures match those of the CPU, and that they do not depend on the batch.

use std::path::{Path, PathBuf};

use image::RgbImage;
use percept::device::gpu::Gpu;
use percept::images;
use percept::{Bundle, Device, Method, SampleOptions};
use percept_tests::ran;

use super::{first_adapter, hardware_or_first_gpu};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets").join(name)
}

/// Samples from the representation of a picture by the demo's encoder.
fn samples(device: &Device, options: &SampleOptions) -> Vec<RgbImage> {
    let mut bundle = Bundle::open(asset("trunk.bundle.json"), device).expect("a bundle");
    let picture = images::open(asset("images/4_star.png")).expect("a picture");
    let h = bundle.encoder.encode(&picture).expect("a representation");
    bundle.rcdm.sample(&h, options).expect("samples")
}

/// Returns the percentage of bytes that differ by at most 2.
fn percent_near(one: &[RgbImage], other: &[RgbImage]) -> f64 {
    let bytes = |images: &[RgbImage]| images.iter().flat_map(|image| image.as_raw().clone()).collect::<Vec<u8>>();
    let (one, other) = (bytes(one), bytes(other));
    assert_eq!(one.len(), other.len());
    let near = one.iter().zip(&other).filter(|(a, b)| a.abs_diff(**b) <= 2).count();
    100.0 * near as f64 / one.len() as f64
}

#[test]
fn pictures_are_the_cpus() {
    let options = SampleOptions { samples: 2, method: Method::ddpm(3), seed: 3, ..SampleOptions::default() };
    let want = samples(&Device::cpu().expect("a CPU"), &options);
    for gpu in hardware_or_first_gpu() {
        let near = percent_near(&samples(&Device::from(gpu.clone()), &options), &want);
        assert!(near >= 99.0, "{}: {near} %", gpu.name());
        ran(&gpu.name(), format!("a sampling run: {near} % of the bytes within 2 of the CPU's"));
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes_whatever_the_batch() {
    let Some(adapter) = first_adapter() else { return };
    let device = Device::from(Gpu::open(&adapter).expect("a device"));
    let of = |batch| {
        let method = Method::ddpm(2);
        samples(&device, &SampleOptions { samples: 3, method, seed: 5, batch: Some(batch), ..SampleOptions::default() })
    };
    let want = of(1);
    assert!(want[0] != want[1]);
    for batch in [2, 3] {
        assert!(of(batch) == want, "batches of {batch}");
    }
}
