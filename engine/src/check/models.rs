//! Computes the results of goldens of networks and sampling runs.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;

use super::golden::Golden;
use super::{Computed, Network};
use crate::device::Device;
use crate::diffusion::Sampler;
use crate::diffusion::{Batch, Method, NoiseFrom, SamplingLoop};
use crate::models::UnetConfig;
use crate::program::ValueId;
use crate::tensor::Tensor;
use crate::weights::WeightRounding;
use crate::{Error, Result};

type Outputs = Vec<(String, Computed)>;

/// Runs one forward pass of a network; each sample of a UNet has its own timestep. Returns all outputs and taps in
/// PyTorch's layout, and the effect of storing the weights in half precision.
pub(super) fn forward(golden: &Golden, kind: &str, device: &Device) -> Result<(Outputs, WeightRounding)> {
    let network = Network::of_golden(golden, kind)?;
    let program = Arc::new(network.program_with_taps(network.batch())?);
    let mut executor = device.load(program.clone(), network.weights())?;
    network.write_inputs(executor.as_mut())?;
    executor.run(program.body())?;
    let read = |(name, id): &(String, ValueId)| {
        let values = executor.read(name)?;
        let shape = program.value(*id).shape;
        let values = if shape.len() == 4 { to_nchw(Tensor::new(shape, values)?)? } else { values };
        Ok((name.clone(), Computed::Floats(values)))
    };
    let outputs = program.outputs().iter().map(read).collect::<Result<_>>()?;
    Ok((outputs, executor.weight_rounding().clone()))
}

fn to_nchw(image: Tensor) -> Result<Vec<f32>> {
    Ok(image.permute([0, 3, 1, 2])?.into_data())
}

/// The sampler's part of the configuration, next to the UNet's.
#[derive(Deserialize)]
struct SamplerJson {
    sampler: String,
    #[serde(default)]
    eta: f64,
    #[serde(default = "yes")]
    clip_denoised: bool,
    #[serde(default)]
    timestep_respacing: String,
}

fn yes() -> bool {
    true
}

/// Samples a whole run with the golden's x_T and noise.
pub(super) fn sampler(golden: &Golden, device: &Device) -> Result<Outputs> {
    let weights = golden.weights()?;
    let config = UnetConfig::from_json(golden.config()?)?;
    let json: SamplerJson = serde_json::from_str(golden.config()?).map_err(|error| {
        Error::config("config of a sampler", "sampler, eta, clip_denoised, timestep_respacing", error)
    })?;
    let method = Method {
        sampler: Sampler::new(&json.sampler.replace('_', "-"), json.eta)?,
        steps: json.timestep_respacing.into(),
        clip: json.clip_denoised,
    };
    let start = golden.image("in.xT")?;
    let batch = start.shape()[0];
    let feat = if config.ssl_dim > 0 { golden.tensor("in.feat")?.into_data() } else { Vec::new() };
    let low_res = if config.small_size > 0 { golden.image("in.low_res")?.into_data() } else { Vec::new() };
    let labels = if config.classes() > 0 { golden.integers("in.y")? } else { Vec::new() };
    let noise = if golden.has("in.noise") {
        Some(golden.tensor("in.noise")?.permute([0, 1, 3, 4, 2])?.into_data())
    } else {
        None
    };
    if method.sampler.adds_noise() && noise.is_none() {
        return Err(Error::file("in.noise", format!("the noise of each step of {}", json.sampler), "no such tensor"));
    }

    let sampling = SamplingLoop::new(weights.as_ref(), &config, &method, batch, NoiseFrom::Host)?;
    let mut executor = device.load(sampling.program(), weights.as_ref())?;
    let inputs = Batch {
        feat: &feat,
        low_res: &low_res,
        labels: &labels,
        start: Some(start.data()),
        noise: noise.as_deref(),
        ..Batch::default()
    };
    let shape = start.shape();
    let mut outputs = Vec::new();
    let sample = sampling.run(executor.as_mut(), &inputs, &mut |executor, step| {
        if step.index == 0 {
            for (name, output) in [("out.x_after_step0", "x"), ("out.x0_after_step0", "x_0")] {
                let image = to_nchw(Tensor::new(shape, executor.read(output)?)?)?;
                outputs.push((name.to_string(), Computed::Floats(image)));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    outputs.push(("out.sample".to_string(), Computed::Floats(to_nchw(Tensor::new(shape, sample)?)?)));
    Ok(outputs)
}
