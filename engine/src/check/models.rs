//! Goldens of networks and sampling runs.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;

use super::Computed;
use super::golden::Golden;
use crate::diffusion::{MAX_PERIOD, Sampler, timestep_embeddings};
use crate::models;
use crate::pipeline::{Batch, Device, Method, NoiseFrom, Sampling};
use crate::program::Graph;
use crate::tensor::Tensor;
use crate::weights::Checkpoint;
use crate::{Error, Result};

type Outputs = Vec<(String, Computed)>;

/// Trunk, logits and the spatial means of the stages.
pub(super) fn resnet(golden: &Golden, device: &Device) -> Result<Outputs> {
    let weights = golden.weights()?;
    let config = models::ResNetConfig::from_json(golden.config()?)?;
    let image = golden.image("in.image")?;
    let mut g = Graph::new();
    let x = g.input("image", image.shape());
    let checkpoint = Checkpoint::new(weights.as_ref());
    let values = models::resnet(&mut g, &config, &checkpoint.root(), x)?;
    checkpoint.finish("a resnet of its configuration")?;
    for (stage, value) in values.stages {
        let mean = models::spatial_mean(&mut g, &stage, value)?;
        g.output(&format!("tap.{stage}"), mean);
    }
    g.output("out.trunk", values.trunk);
    values.logits.into_iter().for_each(|logits| g.output("out.logits", logits));
    run(g, device, weights.as_ref(), |executor| executor.write("image", image.data()))
}

/// A projector head.
pub(super) fn head(golden: &Golden, device: &Device) -> Result<Outputs> {
    let weights = golden.weights()?;
    let config = models::HeadConfig::from_json(golden.config()?)?;
    let trunk = golden.tensor("in.trunk")?;
    let mut g = Graph::new();
    let x = g.input("trunk", trunk.shape());
    let checkpoint = Checkpoint::new(weights.as_ref());
    let layers = models::head(&mut g, &config, &checkpoint.root(), x)?;
    checkpoint.finish("a head of its configuration")?;
    for (layer, value) in layers.iter().enumerate() {
        g.output(&format!("tap.head.{layer}"), *value);
    }
    g.output("out.head", layers[layers.len() - 1]);
    run(g, device, weights.as_ref(), |executor| executor.write("trunk", trunk.data()))
}

/// One forward pass of a UNet, each sample at its own timestep.
pub(super) fn unet(golden: &Golden, device: &Device) -> Result<Outputs> {
    let weights = golden.weights()?;
    let config = models::UnetConfig::from_json(golden.config()?)?;
    let x = golden.image("in.x")?;
    let batch = x.shape()[0];
    let timesteps = golden.tensor("in.t")?;
    let embeddings = timestep_embeddings(timesteps.data(), config.num_channels, MAX_PERIOD);
    let feat = if config.ssl_dim > 0 { Some(golden.tensor("in.feat")?) } else { None };
    let labels = if config.classes() > 0 { Some(golden.integers("in.y")?) } else { None };

    let mut g = Graph::new();
    let x_value = g.input("x", x.shape());
    let time = g.input("time", [batch, config.num_channels]);
    let feat_value = feat.as_ref().map(|feat| g.input("feat", feat.shape()));
    let labels_value = labels.as_ref().map(|_| g.input_u32("labels", [batch]));
    let checkpoint = Checkpoint::new(weights.as_ref());
    let scope = checkpoint.root();
    let condition = models::condition(&mut g, &config, &scope, feat_value, labels_value)?;
    let output = models::unet(&mut g, &config, &scope, x_value, time, &condition)?;
    checkpoint.finish("a unet of its configuration")?;
    g.output("out.eps_and_var", output);
    run(g, device, weights.as_ref(), |executor| {
        executor.write("x", x.data())?;
        executor.write("time", &embeddings)?;
        feat.iter().try_for_each(|feat| executor.write("feat", feat.data()))?;
        labels.iter().try_for_each(|labels| executor.write_u32("labels", labels))
    })
}

/// Runs a feed-forward program and reads all of its outputs in PyTorch's layout.
fn run(
    g: Graph,
    device: &Device,
    weights: &dyn crate::weights::WeightSource,
    write: impl FnOnce(&mut dyn crate::program::Executor) -> Result<()>,
) -> Result<Outputs> {
    let program = Arc::new(g.finish()?);
    let mut executor = device.load(program.clone(), weights)?;
    write(executor.as_mut())?;
    executor.run(program.body())?;
    let read = |(name, id): &(String, crate::program::ValueId)| {
        let values = executor.read(name)?;
        let shape = program.value(*id).shape;
        let values = if shape.len() == 4 { to_nchw(Tensor::new(shape, values)?)? } else { values };
        Ok((name.clone(), Computed::Floats(values)))
    };
    program.outputs().iter().map(read).collect()
}

fn to_nchw(image: Tensor) -> Result<Vec<f32>> {
    Ok(image.permute([0, 3, 1, 2])?.into_data())
}

/// The sampler's flags beside the UNet's.
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

/// A whole sampling run with given x_T and noise.
pub(super) fn sampler(golden: &Golden, device: &Device) -> Result<Outputs> {
    let weights = golden.weights()?;
    let config = models::UnetConfig::from_json(golden.config()?)?;
    let json: SamplerJson = serde_json::from_str(golden.config()?).map_err(|error| {
        Error::config("config of a sampler", "sampler, eta, clip_denoised, timestep_respacing", error)
    })?;
    let method = Method {
        sampler: Sampler::new(&json.sampler.replace('_', "-"), json.eta)?,
        respacing: json.timestep_respacing,
        clip: json.clip_denoised,
    };
    let start = golden.image("in.xT")?;
    let batch = start.shape()[0];
    let feat = if config.ssl_dim > 0 { golden.tensor("in.feat")?.into_data() } else { Vec::new() };
    let labels = if config.classes() > 0 { golden.integers("in.y")? } else { Vec::new() };
    let noise = if golden.has("in.noise") {
        Some(golden.tensor("in.noise")?.permute([0, 1, 3, 4, 2])?.into_data())
    } else {
        None
    };
    if method.sampler.adds_noise() && noise.is_none() {
        return Err(Error::file("in.noise", format!("the noise of each step of {}", json.sampler), "no such tensor"));
    }

    let sampling = Sampling::new(weights.as_ref(), &config, &method, batch, NoiseFrom::Host)?;
    let mut executor = device.load(sampling.program(), weights.as_ref())?;
    let inputs =
        Batch { feat: &feat, labels: &labels, start: Some(start.data()), noise: noise.as_deref(), ..Batch::default() };
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
