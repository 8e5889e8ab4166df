//! burn as a peer of percept: the time of one forward pass of the same models with the same weights on the
//! same adapter.
//!
//! ```text
//! percept-peer-burn resnet50 WEIGHTS.safetensors|random BATCH RUNS [GOLDEN.safetensors]
//! percept-peer-burn unet     DECODER.safetensors|random BATCH RUNS [GOLDEN.safetensors]
//! ```
//!
//! What is compared with what:
//!
//! - burn's `wgpu` backend with fusion and autotuning, its defaults, in f32, with `percept`'s executor on
//!   the same adapter. burn takes the best one; `CUBECL_WGPU_DEFAULT_DEVICE=Cpu` asks for a software
//!   adapter, and the JSON says which it was. Shaders are WGSL, as percept's; with this crate's feature
//!   `vulkan` they are burn's own SPIR-V where the adapter has the extensions for it.
//! - Weights are those of the file, or with `random` the synthetic ones of `tests/goldens/oracle.py`, which
//!   `cargo bench -p percept-benches` uses too; for the UNet then with the flags of a small RCDM, or
//!   of the golden. Batch norms are folded into the convolutions before, as percept does.
//! - A forward pass goes from inputs that lie on the device to the output read back to the host: for the
//!   ResNet from `[BATCH, 3, 224, 224]` (64 where the width of the stem is not 64) to the trunk, for the
//!   UNet from image and sinusoidal embedding of the timestep. As in percept, what depends on the
//!   representation alone (`ssl_emb`) is computed once before.
//! - Everything else is written as a user of burn writes it, with burn's own operations: convolutions,
//!   `nn::GroupNorm`, attention, pooling, interpolation.
//!
//! Prints one line of JSON. `cold_ms` is the first pass with all compilation and autotuning, nothing being
//! cached between processes; `median_ms` is the median of RUNS passes after two more that do not count.
//! With a golden of the model, inputs are read from it and `golden` states the relative error in 2-norm; of
//! sampling runs, DDIM without noise can be checked, which is done after the passes are timed.

mod ddim;
mod layers;
mod resnet;
mod unet;
mod weights;

use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};

use crate::layers::Loader;
use crate::resnet::ResNet;
use crate::unet::{Unet, UnetConfig};
use crate::weights::{File, Weights};

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

/// As in Cargo.toml.
const BACKEND: &str = if cfg!(feature = "vulkan") { "burn 0.22.1 wgpu, vulkan" } else { "burn 0.22.1 wgpu" };
const USAGE: &str = "usage: percept-peer-burn resnet50|unet WEIGHTS.safetensors|random BATCH RUNS [GOLDEN.safetensors]";
/// Passes after the first that do not count.
const WARM_UP: usize = 2;

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Value> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, weights, batch, runs, golden @ ..] = arguments.as_slice() else { return Err(USAGE.into()) };
    let number = |what: &str, text: &str| match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{what}: expected a number above 0, got {text:?}")),
    };
    let (batch, runs) = (number("BATCH", batch)?, number("RUNS", runs)?);
    let weights = Weights::open(weights)?;
    let golden = match golden {
        [] => None,
        [path] => Some(File::open(path)?),
        _ => return Err(USAGE.into()),
    };

    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    let adapter = setup.adapter.get_info().name;
    let loader = Loader { weights: &weights, device: &device };
    let timed = match model.as_str() {
        "resnet50" => resnet50(&loader, batch, runs, golden.as_ref())?,
        "unet" => unet(&loader, batch, runs, golden.as_ref())?,
        _ => return Err(USAGE.into()),
    };

    let first = &timed.output[..timed.output.len().min(8)];
    Ok(json!({
        "model": model,
        "batch": batch,
        "adapter": adapter,
        "backend": BACKEND,
        "cold_ms": timed.cold_ms,
        "median_ms": timed.median_ms,
        "output_checksum": { "first": first, "norm": norm(timed.output.iter().copied()) },
        "golden": timed.golden,
    }))
}

fn resnet50(loader: &Loader<'_>, batch: usize, runs: usize, golden: Option<&File>) -> Result<Timed> {
    let config = loader.weights.config().or(golden.map(File::config)).transpose()?;
    let config = config.map_or(Ok(resnet::Config::resnet50()), resnet::Config::from_json)?;
    let size = if config.width == 64 { 224 } else { 64 };
    let image = image_input(golden, "in.image", [batch, 3, size, size], loader.device)?;

    let model = ResNet::load(loader, &config)?;
    let mut timed = time(runs, || read(model.forward(image.clone())))?;
    if let Some(golden) = golden {
        timed.golden = json!({ "out.trunk": relative_error(&timed.output, golden.values("out.trunk")?)? });
    }
    Ok(timed)
}

fn unet(loader: &Loader<'_>, batch: usize, runs: usize, golden: Option<&File>) -> Result<Timed> {
    let config = loader.weights.config().or(golden.map(File::config)).transpose()?;
    let config = UnetConfig::from_json(config.unwrap_or(unet::RCDM_32))?;
    // A sampling run begins at the noisiest step.
    let sampling = golden.filter(|golden| golden.has("in.xT")).map(ddim::Run::of).transpose()?;
    let x = if sampling.is_some() { "in.xT" } else { "in.x" };
    let x = image_input(golden, x, [batch, 3, config.image_size, config.image_size], loader.device)?;
    let feat = match golden {
        Some(golden) => golden.values("in.feat")?.to_vec(),
        None => made_up(batch * config.ssl_dim),
    };
    let feat = tensor(feat, [batch, config.ssl_dim], loader.device)?;
    let timesteps = match (&sampling, golden) {
        (Some(run), _) => vec![run.first_timestep(); batch],
        (None, Some(golden)) => golden.values("in.t")?.to_vec(),
        (None, None) => vec![500.0; batch],
    };
    let time_rows = |timesteps: &[f32]| {
        let rows = unet::timestep_embeddings(timesteps, config.num_channels);
        tensor(rows, [batch, config.num_channels], loader.device)
    };
    let at = time_rows(&timesteps)?;

    let model = Unet::load(loader, &config)?;
    let condition = model.condition(feat);
    let mut timed = time(runs, || read(model.forward(x.clone(), at.clone(), condition.clone())))?;
    timed.golden = match (golden, &sampling) {
        (Some(golden), Some(run)) => {
            let sample = run.sample(read(x)?, batch, |x, timestep| {
                let x = tensor(x, [batch, 3, config.image_size, config.image_size], loader.device)?;
                read(model.forward(x, time_rows(&vec![timestep; batch])?, condition.clone()))
            })?;
            json!({ "out.sample": relative_error(&sample, golden.values("out.sample")?)? })
        }
        (Some(golden), None) => {
            json!({ "out.eps_and_var": relative_error(&timed.output, golden.values("out.eps_and_var")?)? })
        }
        (None, _) => Value::Null,
    };
    Ok(timed)
}

/// What is known of a model after it ran.
struct Timed {
    cold_ms: f64,
    median_ms: f64,
    output: Vec<f32>,
    golden: Value,
}

fn time(runs: usize, pass: impl Fn() -> Result<Vec<f32>>) -> Result<Timed> {
    let clocked = || {
        let start = Instant::now();
        pass().map(|output| (start.elapsed().as_secs_f64() * 1e3, output))
    };
    let (cold_ms, output) = clocked()?;
    for _ in 0..WARM_UP {
        clocked()?;
    }
    let mut milliseconds = (0..runs).map(|_| Ok(clocked()?.0)).collect::<Result<Vec<f64>>>()?;
    milliseconds.sort_by(f64::total_cmp);
    Ok(Timed { cold_ms, median_ms: milliseconds[runs / 2], output, golden: Value::Null })
}

/// The golden's images, whose batch must be the one asked for, or made-up ones of the shape.
fn image_input(golden: Option<&File>, name: &str, shape: [usize; 4], device: &Device) -> Result<Tensor<4>> {
    let Some(golden) = golden else {
        return tensor(made_up(shape.iter().product()), shape, device);
    };
    let stored = golden.shape(name)?;
    match <[usize; 4]>::try_from(stored) {
        Ok(stored) if stored[0] == shape[0] => tensor(golden.values(name)?.to_vec(), stored, device),
        _ => Err(format!("{name}: expected batch {}, got shape {stored:?}", shape[0]).into()),
    }
}

/// The numbers that percept's benchmarks feed.
fn made_up(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Result<Tensor<D>> {
    if values.len() != shape.iter().product::<usize>() {
        return Err(format!("expected numbers for shape {shape:?}, got {}", values.len()).into());
    }
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

/// Waits for a tensor and reads it back.
fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.into_data().try_into_vec().map_err(|error| format!("output: {error:?}").into())
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

fn relative_error(got: &[f32], expected: &[f32]) -> Result<f64> {
    if got.len() != expected.len() {
        return Err(format!("expected {} numbers as the golden has, got {}", expected.len(), got.len()).into());
    }
    Ok(norm(got.iter().zip(expected).map(|(got, expected)| got - expected)) / norm(expected.iter().copied()))
}
