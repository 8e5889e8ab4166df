//! Tests finite weights that lead to infinities or NaN: the error names the layer at which they begin.

use std::path::Path;

use image::RgbImage;
use percept::Error;
use percept::diffusion::{MAX_PERIOD, Schedule, timestep_embeddings};
use percept::error::Mismatch;
use percept::weights::OpenModel;
use percept::weights::WeightSource;
use percept::{Device, Encoder, Method, Preprocessing, Rcdm, SampleOptions};
use percept_tests::model_file::{bytes_of, write_model};
use safetensors::tensor::Dtype;

use crate::model_files::{asset, cpu, devices, trunk_decoder, write_changed};

/// Sums of some of these overflow `f32`.
const HUGE: f32 = 3e38;

#[track_caller]
fn not_finite<T>(result: percept::Result<T>) -> Mismatch {
    match result {
        Err(Error::NotFinite(mismatch)) => mismatch,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

#[track_caller]
fn layer<T>(result: percept::Result<T>) -> String {
    not_finite(result).at
}

/// Fills one tensor of a decoder with a value, and returns the layer that the error of sampling names.
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
        // Also in the only step of a run.
        for method in [Method::ddim(2), Method::ddpm(2), Method::ddpm(1)] {
            for device in devices() {
                assert_eq!(sampled(&device, tensor, HUGE, method.clone()), want, "{}", device.name());
            }
        }
    }
}

/// Writes the demo's decoder with a time embedding that is infinite at one of these timesteps, and finite at
/// the others.
fn write_infinite_at(to: &Path, timesteps: &[f32], step: usize) {
    let model = OpenModel::open(asset("decoder_trunk.safetensors")).expect("a model file");
    let values = |name: &str| model.tensor(name).expect("a tensor");
    let [hidden, channels] = model.shape("time_embed.0.weight").expect("a shape")[..] else { panic!("no matrix") };
    let embeddings = timestep_embeddings(timesteps, channels, MAX_PERIOD);
    let rows: Vec<&[f32]> = embeddings.chunks_exact(channels).collect();
    // All embeddings have the same length, so the product of one with itself is larger than with any other. The
    // first hidden unit is over 200 at this step. At the others it is below -200, where SiLU is zero.
    let product = |row: &[f32]| row.iter().zip(rows[step]).map(|(a, b)| a * b).sum::<f32>();
    let others = rows.iter().enumerate().filter(|(index, _)| *index != step).map(|(_, row)| product(row));
    let (own, nearest) = (product(rows[step]), others.reduce(f32::max).expect("several steps"));
    let factor = 500.0 / (own - nearest);
    let mut weight = values("time_embed.0.weight");
    weight.iter_mut().zip(rows[step]).for_each(|(weight, value)| *weight = factor * value);
    let mut bias = values("time_embed.0.bias");
    bias[0] = -factor * (own + nearest) / 2.0;
    let mut next = values("time_embed.2.weight");
    next.iter_mut().step_by(hidden).for_each(|weight| *weight = HUGE);

    let changed = [("time_embed.0.weight", weight), ("time_embed.0.bias", bias), ("time_embed.2.weight", next)];
    let tensors = model.tensors().into_iter().map(|name| {
        let shape = model.shape(&name).expect("a shape").to_vec();
        match changed.iter().find(|(changed, _)| *changed == name) {
            Some((_, values)) => (name, Dtype::F32, shape, bytes_of(values)),
            None => {
                let (dtype, data) = model.raw(&name).expect("a tensor");
                (name, dtype, shape, data.to_vec())
            }
        }
    });
    let metadata = |key: &str| model.metadata(key).expect("metadata");
    write_model(to, metadata("percept.kind"), metadata("percept.config"), &tensors.collect());
}

/// Executors swap the buffers of carries after each step, and the check must follow.
#[test]
fn the_step_is_named_whichever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decoder.safetensors");
    let devices = devices();
    let config = trunk_decoder().config().clone();
    for method in [Method::ddpm(4), Method::ddim(4)] {
        for step in 0..4 {
            let kind = config.noise_schedule.parse().expect("a schedule");
            let schedule = Schedule::new(kind, config.diffusion_steps, &method.respacing(config.diffusion_steps))
                .expect("a schedule");
            let timesteps = method.sampler.timesteps(&schedule, config.rescale_timesteps);
            write_infinite_at(&path, &timesteps, step);
            for device in &devices {
                let rcdm = Rcdm::open(&path, device).expect("a decoder");
                let h = vec![1.0; rcdm.config().ssl_dim];
                let options = SampleOptions { samples: 1, method: method.clone(), ..SampleOptions::default() };
                let mismatch = not_finite(rcdm.sample(&h, &options));
                assert_eq!(mismatch.at, "time_embed.2 (dense)", "step {step}, {}", device.name());
                let want = format!("NaN or an infinity at step {step}, timestep {}", timesteps[step]);
                assert_eq!(mismatch.got, want, "{}", device.name());
            }
        }
    }
}

/// Tests a layer that runs once, before the first step.
#[test]
fn the_layer_of_the_prologue_is_named() {
    for device in devices() {
        assert_eq!(sampled(&device, "shared.weight", HUGE, Method::ddim(2)), "shared (dense)");
    }
}

/// Clipping would turn an infinity into a plausible picture.
#[test]
fn infinite_predictions_are_not_clipped_away() {
    for device in devices() {
        for method in [Method::ddpm(2), Method::ddim(2)] {
            // Sums of products of nearly the same sign: infinite, not NaN.
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
        // The weights are finite after the batch norm is folded in, but their products with a window are not.
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
        assert_eq!(layer(encode(&good, Some(&head), &device)), "head.3 (dense)");
        assert!(encode(&good, None, &device).is_ok());
    }
}

/// NaN in a file is reported when it is loaded, with the tensor's name.
#[test]
fn a_tensor_of_a_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decoder.safetensors");
    write_changed(&asset("decoder_trunk.safetensors"), &path, "out.0.bias", f32::NAN, "out.0.bias");
    let rcdm = Rcdm::open(&path, &cpu()).expect("a decoder whose shapes are right");
    let at = layer(rcdm.sample(&[0.0; 256], &SampleOptions::default()));
    assert_eq!(at, format!("{}: out.0.bias", path.display()));
}
