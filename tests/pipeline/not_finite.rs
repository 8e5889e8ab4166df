//! Weights that are numbers but make none: the error names the layer at which it began.

use std::path::Path;

use image::RgbImage;
use percept::Error;
use percept::pipeline::{Device, Encoder, Method, Preprocessing, Rcdm, SampleOptions};

use crate::model_files::{asset, cpu, devices, write_changed};

/// Sums of some of these are over what `f32` holds.
const HUGE: f32 = 3e38;

#[track_caller]
fn layer<T>(result: percept::Result<T>) -> String {
    match result {
        Err(Error::NotFinite(mismatch)) => mismatch.at,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

/// What sampling with a decoder says of which one tensor is filled with a value.
fn sampled(device: &Device, tensor: &str, value: f32, method: Method) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decoder.safetensors");
    write_changed(&asset("decoder_trunk.safetensors"), &path, tensor, value, tensor);
    let rcdm = Rcdm::open(&path, device).expect("a decoder");
    let h = vec![1.0; rcdm.config().ssl_dim];
    layer(rcdm.sample(&h, &SampleOptions { samples: 2, method, ..SampleOptions::default() }))
}

#[test]
fn the_layer_of_a_step_is_named() {
    let cases = [
        ("input_blocks.0.0.weight", "input_blocks.0.0 (conv)"),
        ("time_embed.0.weight", "time_embed.0 (dense)"),
        ("middle_block.1.proj_out.weight", "middle_block.1.proj_out (conv)"),
        ("output_blocks.3.0.out_layers.3.weight", "output_blocks.3.0.out_layers.3 (conv)"),
    ];
    for (tensor, want) in cases {
        // Also in the only step there is.
        for method in [Method::ddim(2), Method::ddpm(2), Method::ddpm(1)] {
            for device in devices() {
                assert_eq!(sampled(&device, tensor, HUGE, method.clone()), want, "{}", device.name());
            }
        }
    }
}

/// What is computed once, before the first step.
#[test]
fn the_layer_of_the_prologue_is_named() {
    for device in devices() {
        assert_eq!(sampled(&device, "shared.weight", HUGE, Method::ddim(2)), "shared (dense)");
    }
}

/// Clipping would make an infinity a picture that looks like one.
#[test]
fn infinite_predictions_are_not_clipped_away() {
    for device in devices() {
        for method in [Method::ddpm(2), Method::ddim(2)] {
            // Sums of products of one sign, nearly: infinite, not NaN.
            assert_eq!(sampled(&device, "out.2.weight", 3e37, method.clone()), "out.2 (conv)");
            assert_eq!(sampled(&device, "out.2.weight", HUGE, method), "out.2 (conv)");
        }
    }
}

#[test]
fn the_layer_of_an_encoder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let changed = |file: &str, tensor: &str| {
        let path = folder.path().join(file);
        // Finite with the batch norm folded in, but not when multiplied with a window.
        write_changed(&asset(file), &path, tensor, 3e37, tensor);
        path
    };
    let encode = |encoder: &Path, head: Option<&Path>, device: &Device| {
        let preprocessing = Preprocessing::new("rcdm", 64).expect("a preset");
        let mut encoder = Encoder::open(encoder, head, Some(preprocessing), device).expect("an encoder");
        encoder.encode(&RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, 90])))
    };
    let good = asset("encoder.safetensors");
    for device in devices().into_iter().chain([Device::reference()]) {
        for (tensor, want) in [("conv1.weight", "conv1 (conv)"), ("layer3.0.conv2.weight", "layer3.0.conv2 (conv)")] {
            assert_eq!(layer(encode(&changed("encoder.safetensors", tensor), None, &device)), want);
        }
        let head = changed("head.safetensors", "3.weight");
        assert_eq!(layer(encode(&good, Some(&head), &device)), "3 (dense)");
        assert!(encode(&good, None, &device).is_ok());
    }
}

/// NaN in a file is told when it is loaded, with the tensor's name.
#[test]
fn a_tensor_of_a_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decoder.safetensors");
    write_changed(&asset("decoder_trunk.safetensors"), &path, "out.0.bias", f32::NAN, "out.0.bias");
    let rcdm = Rcdm::open(&path, &cpu()).expect("a decoder whose shapes are right");
    let at = layer(rcdm.sample(&[0.0; 256], &SampleOptions::default()));
    assert_eq!(at, format!("{}: out.0.bias", path.display()));
}
