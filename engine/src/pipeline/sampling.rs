//! Sampling as one program: the prologue computes what depends on the condition alone and draws x_T, the
//! body is one step.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::diffusion::{MAX_PERIOD, NoiseSchedule, Sampler, Schedule, noise, timestep_embeddings};
use crate::kernels::{Advance, DdimStep, DdpmStep, Embedding, Index, Noise, NotFinite, Prediction, Stream};
use crate::models::{UnetConfig, condition, unet};
use crate::program::{Executor, Graph, Program};
use crate::weights::{Checkpoint, WeightSource};
use crate::{Error, Result};

/// How to go from noise to an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// The sampler.
    pub sampler: Sampler,
    /// Which of the trained steps are taken, as guided-diffusion's `timestep_respacing`; empty: all.
    pub respacing: String,
    /// Whether the predicted x_0 is clipped to [-1, 1] at each step.
    pub clip: bool,
}

impl Method {
    /// DDIM in the given number of steps, without noise.
    pub fn ddim(steps: usize) -> Self {
        Method { sampler: Sampler::Ddim { eta: 0.0 }, respacing: alloc::format!("ddim{steps}"), clip: true }
    }

    /// DDPM in the given number of steps.
    pub fn ddpm(steps: usize) -> Self {
        Method { sampler: Sampler::Ddpm, respacing: steps.to_string(), clip: true }
    }
}

/// A UNet, or an upsampler, and a method as one program, for one batch size.
pub struct Sampling {
    program: Arc<Program>,
    timesteps: Vec<f32>,
    /// `[steps, columns]`: the coefficients of each step.
    table: Vec<f32>,
    /// `[steps, num_channels]`: the timestep embedding of each step.
    embeddings: Vec<f32>,
    classes: usize,
}

/// What a batch is sampled from. Empty slices stand for what the model does not take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// Representations, `[n, ssl_dim]`.
    pub feat: &'a [f32],
    /// An upsampler's small images, `[n, small_size, small_size, 3]`, in [-1, 1].
    pub low_res: &'a [f32],
    /// Classes, `[n]`.
    pub labels: &'a [u32],
    /// What noise is drawn from.
    pub seed: u64,
    /// The place of the batch's first sample in the whole run: its noise depends on it and not on
    /// what it is batched with.
    pub first_sample: u32,
    /// x_T, `[n, h, w, 3]`, where it is given and not drawn (for DDIM reverse: the image).
    pub start: Option<&'a [f32]>,
    /// The noise of each step, `[steps, n, h, w, 3]`, where it is given and not drawn.
    pub noise: Option<&'a [f32]>,
}

/// Where a run is after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Which step was taken, 0 the first.
    pub index: usize,
    /// Of how many.
    pub steps: usize,
    /// The timestep that the network was told.
    pub timestep: f32,
}

/// What is called after each step, and may stop the run.
pub type OnStep<'a> = dyn FnMut(&mut dyn Executor, Step) -> Result<ControlFlow<()>> + 'a;

/// Whether noise is drawn by the program or given by the host. Only checks against other programs give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseFrom {
    /// Philox, as [`noise`] describes.
    Seed,
    /// [`Batch::start`] and [`Batch::noise`].
    Host,
}

impl Sampling {
    /// Builds the program of the weights of a UNet, or of an upsampler, for `batch` samples.
    ///
    /// # Errors
    /// Where the weights are not those of the configuration, or the method is impossible.
    pub fn new(
        source: &dyn WeightSource,
        config: &UnetConfig,
        method: &Method,
        batch: usize,
        from: NoiseFrom,
    ) -> Result<Self> {
        let kind = config.noise_schedule.parse::<NoiseSchedule>()?;
        let schedule = Schedule::new(kind, config.diffusion_steps, &method.respacing)?;
        let timesteps = method.sampler.timesteps(&schedule, config.rescale_timesteps);
        let table = method.sampler.table(&schedule, config.learn_sigma)?;
        let embeddings = timestep_embeddings(&timesteps, config.num_channels, MAX_PERIOD);

        let (steps, size) = (timesteps.len(), config.image_size);
        let mut g = Graph::new();
        let state = g.input_u32("state", [4]);
        let x = g.input("x", [batch, size, size, 3]);
        let table_value = g.input("table", [steps, table.len() / steps]);
        let embeddings_value = g.input("embeddings", [steps, config.num_channels]);
        let feat = (config.ssl_dim > 0).then(|| g.input("feat", [batch, config.ssl_dim]));
        let labels = (config.classes() > 0).then(|| g.input_u32("labels", [batch]));
        let small = config.small_size;
        let low_res = (small > 0).then(|| g.input("low_res", [batch, small, small, 3]));

        let checkpoint = Checkpoint::new(source);
        let scope = checkpoint.root();
        let mut condition = condition(&mut g, config, &scope, feat, labels)?;
        if let Some(low_res) = low_res {
            condition = condition.with_low_res(&mut g, config, low_res)?;
        }
        let draw = |stream| Noise { batch, sample: [size, size, 3], stream };
        // DDIM reverse begins with an image, never with noise.
        let is_drawn = from == NoiseFrom::Seed && method.sampler != Sampler::DdimReverse;
        let start = if is_drawn { Some(g.op1("x_T", draw(Stream::Start), &[state])?) } else { None };

        g.begin_body();
        let lookup = Embedding { table_rows: steps, channels: config.num_channels, batch, index: Index::Step };
        let time = g.op1("timestep embedding", lookup, &[embeddings_value, state])?;
        let output = unet(&mut g, config, &scope, x, time, &condition)?;
        checkpoint.finish(if small > 0 {
            "an upsampler of its configuration"
        } else {
            "a unet of its configuration"
        })?;
        let noise = match (method.sampler.adds_noise(), from) {
            (false, _) => None,
            (true, NoiseFrom::Seed) => Some(g.op1("noise", draw(Stream::Step), &[state])?),
            (true, NoiseFrom::Host) => Some(g.input("noise", [batch, size, size, 3])),
        };
        let predict = if config.predict_xstart { Prediction::Start } else { Prediction::Epsilon };
        let (learned_variance, clip) = (config.learn_sigma, method.clip);
        let reads: Vec<_> =
            [Some(x), Some(output), noise, Some(table_value), Some(state)].into_iter().flatten().collect();
        let [height, width, channels] = [size, size, 3];
        let written = match method.sampler {
            Sampler::Ddpm => {
                let step = DdpmStep { batch, height, width, channels, steps, learned_variance, predict, clip };
                g.op("ddpm_step", step, &reads)?
            }
            Sampler::Ddim { .. } | Sampler::DdimReverse => {
                let noise = noise.is_some();
                let step = DdimStep { batch, height, width, channels, steps, learned_variance, predict, clip, noise };
                g.op("ddim_step", step, &reads)?
            }
        };
        let not_finite = g.op1("not_finite", NotFinite { batch, height, width, channels }, &[written[0]])?;
        let next_state = g.op1("advance", Advance {}, &[state])?;
        g.carry(x, written[0], start)?;
        g.carry(state, next_state, None)?;
        g.output("x", written[0]);
        g.output("x_0", written[1]);
        g.output("not_finite", not_finite);
        Ok(Sampling { program: Arc::new(g.finish()?), timesteps, table, embeddings, classes: config.classes() })
    }

    /// The program, to be loaded onto a device.
    pub fn program(&self) -> Arc<Program> {
        self.program.clone()
    }

    /// Steps of a run.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// Samples one batch on an executor of [`Sampling::program`]; returns `[n, h, w, 3]`, about
    /// [-1, 1]. After each step `on_step` may read the outputs `x` (the next x_t) and `x_0` (the
    /// prediction), and may stop the run. What is read of every step in any case is `not_finite`: a word
    /// per [`NotFinite::TILE`] elements of x.
    ///
    /// # Errors
    /// Where an input has another size than the program's, a class does not exist, the device fails,
    /// or a result is not finite: then the layer that made it is named.
    pub fn run(&self, executor: &mut dyn Executor, batch: &Batch<'_>, on_step: &mut OnStep<'_>) -> Result<Vec<f32>> {
        self.write_inputs(executor, batch, 0)?;
        // Of the executor's program, which may be this one cut to fewer outputs.
        let (prologue, body) = (executor.program().prologue(), executor.program().body());
        executor.run(prologue)?;
        for (index, &timestep) in self.timesteps.iter().enumerate() {
            if let (Some(noise), true) = (batch.noise, self.program.input("noise").is_ok()) {
                let length = noise.len() / self.steps();
                executor.write("noise", &noise[index * length..(index + 1) * length])?;
            }
            executor.run(body.clone())?;
            if executor.read_u32("not_finite")?.iter().any(|&found| found != 0) {
                return Err(self.not_finite(executor, index)?);
            }
            let step = Step { index, steps: self.steps(), timestep };
            if on_step(executor, step)?.is_break() {
                break;
            }
        }
        executor.read("x")
    }

    /// Writes all that a batch is sampled from, to begin with a step.
    ///
    /// # Errors
    /// Where an input has another size than the program's, is not finite or is a class that does not exist.
    pub(crate) fn write_inputs(&self, executor: &mut dyn Executor, batch: &Batch<'_>, step: usize) -> Result<()> {
        executor.write_u32("state", &noise::state(step as u32, batch.first_sample, batch.seed))?;
        executor.write("table", &self.table)?;
        executor.write("embeddings", &self.embeddings)?;
        if !batch.feat.is_empty() {
            check_finite("representation", batch.feat)?;
            executor.write("feat", batch.feat)?;
        }
        if !batch.low_res.is_empty() {
            check_finite("small image", batch.low_res)?;
            executor.write("low_res", batch.low_res)?;
        }
        if !batch.labels.is_empty() {
            if let Some(label) = batch.labels.iter().find(|&&label| label as usize >= self.classes) {
                return Err(Error::config("class", alloc::format!("0 to {}", self.classes.saturating_sub(1)), label));
            }
            executor.write_u32("labels", batch.labels)?;
        }
        match batch.start {
            Some(start) => executor.write("x", start),
            None => Ok(()),
        }
    }

    /// The error of a step after which x is not finite: finds the op that made it so.
    ///
    /// # Errors
    /// Where the device fails.
    pub(crate) fn not_finite(&self, executor: &mut dyn Executor, step: usize) -> Result<Error> {
        let (prologue, body) = (executor.program().prologue(), executor.program().body());
        // The body first, for what it read is still there; but what the prologue made comes before it.
        let of_body = executor.find_non_finite(body)?;
        let layer = executor.find_non_finite(prologue)?.or(of_body);
        let layer = layer.unwrap_or_else(|| "the sampler's step".into());
        let got = alloc::format!("NaN or an infinity at step {step}, timestep {}", self.timesteps[step]);
        Ok(Error::not_finite(layer, "finite values", got))
    }
}

/// Refuses NaN and infinities.
pub(crate) fn check_finite(at: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(place) => {
            Err(Error::not_finite(at, "finite values", alloc::format!("{} at element {place}", values[place])))
        }
        None => Ok(()),
    }
}
