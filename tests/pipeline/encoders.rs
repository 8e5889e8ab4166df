//! Tests encoders that are vision transformers, with synthetic weights.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use percept::check::Network;
use percept::models::{VitConfig, vit};
use percept::program::Graph;
use percept::weights::{Synthetic, tensors_of};
use percept::{Bundle, Device, Encoder, Method, Preprocessing, SampleOptions};
use percept::{Error, Result};
use percept_tests::{SplitMix, relative_error, write_synthetic};
use serde_json::json;

use crate::model_files::{asset, cpu, devices};

/// A configuration whose representation has as many elements as the demo's decoder for the trunk takes.
const CONFIG: &str = r#"{"patch": 14, "dim": 256, "depth": 2, "heads": 4, "image": 98, "registers": 2}"#;

/// Writes a model file of a vision transformer, with an unused classifier.
pub fn write_vit(path: &Path) {
    let config = VitConfig::from_json(CONFIG).expect("a configuration");
    let mut shapes = tensors_of(|scope| {
        let mut g = Graph::new();
        let image = g.input("image", [1, 28, 28, 3]);
        vit(&mut g, &config, scope, image).map(|_| ())
    })
    .expect("a vit");
    shapes.insert("head.weight".to_string(), [10, 256].into());
    shapes.insert("head.bias".to_string(), [10].into());
    write_synthetic(path, "vit", CONFIG, &Synthetic::new(shapes));
}

pub fn picture(blue: u8) -> RgbImage {
    RgbImage::from_fn(90, 80, |x, y| Rgb([x as u8 * 2, y as u8 * 3, blue]))
}

fn open(path: &Path, size: u32, device: &Device) -> Result<Encoder> {
    Encoder::open(path, None, Some(Preprocessing::new("rcdm", size).expect("a preset")), device)
}

#[test]
fn a_vision_transformer_encodes_at_every_size_that_its_patches_fill() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vit.safetensors");
    write_vit(&path);
    for size in [14, 56, 98, 140] {
        let encode = |device: &Device, blue| {
            let mut encoder = open(&path, size, device).expect("an encoder");
            assert_eq!(encoder.dim(), 256);
            encoder.encode(&picture(blue)).expect("a representation")
        };
        let want = encode(&Device::reference(), 9);
        assert_eq!(want.len(), 256);
        assert!(relative_error(&encode(&Device::reference(), 200), &want) > 1e-3, "size {size}: any picture gives it");
        for device in devices() {
            let error = relative_error(&encode(&device, 9), &want);
            assert!(error <= 1e-5, "size {size}: {error:e}");
        }
    }
}

#[test]
fn a_size_that_the_patches_do_not_fill_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vit.safetensors");
    write_vit(&path);
    for size in [13, 64, 225] {
        match open(&path, size, &cpu()).map(|_| ()) {
            Err(Error::Shape(mismatch)) => {
                assert_eq!(mismatch.at, format!("{}: image of a vit", path.display()));
                assert_eq!(mismatch.expected, "sides that are multiples of 14 pixels, as its patches are");
                assert_eq!(mismatch.got, format!("{size}x{size}"));
            }
            other => panic!("size {size}: {other:?}"),
        }
    }
}

#[test]
fn a_representation_does_not_depend_on_its_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vit.safetensors");
    write_vit(&path);
    let network = Network::open(&path, Some(56)).expect("a network");
    let images = SplitMix::new(5).floats(3 * 56 * 56 * 3);
    for device in devices() {
        let bits = |batch: usize| -> Vec<u32> {
            let program = Arc::new(network.program(batch).expect("a program"));
            let mut executor = device.load(program.clone(), network.weights()).expect("an executor");
            executor.write("image", &images[..batch * 56 * 56 * 3]).expect("images");
            executor.run(program.body()).expect("a run");
            let read = |output| executor.read(output).expect("an output")[..256].to_vec();
            ["out.trunk", "out.tokens_mean", "out.patch_mean"]
                .map(read)
                .concat()
                .into_iter()
                .map(f32::to_bits)
                .collect()
        };
        assert_eq!(bits(1), bits(3));
    }
}

/// The results are identical, bit for bit, in batches of every size, with a head and without, and for a
/// transformer.
#[test]
fn an_image_does_not_depend_on_what_it_is_encoded_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let vit = folder.path().join("vit.safetensors");
    write_vit(&vit);
    let head = asset("head.safetensors");
    let images: Vec<RgbImage> = (0..18).map(|blue| picture(blue * 13)).collect();
    for device in devices() {
        for (path, head, size) in [
            (asset("encoder.safetensors"), Some(head.as_path()), 40),
            (asset("encoder.safetensors"), None, 33),
            (vit.clone(), None, 28),
        ] {
            let preprocessing = Preprocessing::new("imagenet", size).expect("a preset");
            let mut encoder = Encoder::open(&path, head, Some(preprocessing), &device).expect("an encoder");
            assert_eq!(encoder.batch(), 16);
            let want: Vec<Vec<f32>> = images.iter().map(|image| encoder.encode(image).expect("one")).collect();
            for count in [0, 1, 2, 3, 16, 17, 18] {
                assert!(encoder.encode_all(&images[..count]).expect("all") == want[..count], "{count} of {path:?}");
            }
        }
    }
}

#[test]
fn a_preprocessing_is_changed_on_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let vit = folder.path().join("vit.safetensors");
    write_vit(&vit);
    let of = |preset, size| Preprocessing::new(preset, size).expect("a preset");
    let mut encoder = open(&vit, 56, &cpu()).expect("an encoder");
    for (preset, size) in [("squash", 56), ("imagenet", 70), ("rcdm", 28)] {
        encoder.set_preprocessing(of(preset, size)).expect("a size that patches fill");
        let mut fresh = Encoder::open(&vit, None, Some(of(preset, size)), &cpu()).expect("an encoder");
        assert_eq!(encoder.preprocessing(), fresh.preprocessing());
        assert!(encoder.encode(&picture(9)) == fresh.encode(&picture(9)), "{preset} {size}");
    }
    // A refused preprocessing changes nothing.
    let before = encoder.encode(&picture(9));
    assert!(matches!(encoder.set_preprocessing(of("rcdm", 57)), Err(Error::Shape(_))));
    assert!(encoder.encode(&picture(9)) == before);
}

#[test]
fn a_bundle_samples_with_a_vision_transformer() {
    let folder = tempfile::tempdir().expect("a folder");
    write_vit(&folder.path().join("vit.safetensors"));
    fs::copy(asset("decoder_trunk.safetensors"), folder.path().join("decoder.safetensors")).expect("a copy");
    let bundle = json!({
        "version": 1, "encoder": "vit.safetensors", "head": null, "decoder": "decoder.safetensors",
        "preprocessing": {"preset": "rcdm", "size": 70}, "layer": "trunk",
    });
    let path = folder.path().join("vit.bundle.json");
    fs::write(&path, bundle.to_string()).expect("a writable folder");
    let mut bundle = Bundle::open(&path, &cpu()).expect("a bundle");
    let h = bundle.encoder.encode(&picture(9)).expect("a representation");
    let options = SampleOptions { samples: 1, method: Method::ddim(2), ..SampleOptions::default() };
    assert_eq!(bundle.rcdm.sample(&h, &options).expect("a sample").len(), 1);
}
