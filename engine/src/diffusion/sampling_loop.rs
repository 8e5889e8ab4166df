//! Sampling as one program. The prologue computes the values that depend only on the condition and draws
//! x_T. The body is one step.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{MAX_PERIOD, Method, NoiseSchedule, Sampler, Schedule, noise, timestep_embeddings};
use crate::device::Executor;
use crate::kernels::{Advance, DdimStep, DdpmStep, Embedding, Index, Noise, NotFinite, Prediction, Stream};
use crate::models::{UnetConfig, condition, unet};
use crate::program::{Graph, Program};
use crate::tensor::check_finite;
use crate::weights::{Checkpoint, WeightSource};
use crate::{Error, Result};

/// A UNet or upsampler and a method as one program, for one batch size.
pub struct SamplingLoop {
    program: Arc<Program>,
    timesteps: Vec<f32>,
    /// The coefficients of each step, `[steps, columns]`.
    table: Vec<f32>,
    /// The timestep embedding of each step, `[steps, num_channels]`.
    embeddings: Vec<f32>,
    classes: usize,
}

/// The inputs of a batch. A slice is empty if the model does not take that input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// The representations, `[n, ssl_dim]`.
    pub feat: &'a [f32],
    /// The small images of an upsampler, `[n, small_size, small_size, 3]`, in [-1, 1].
    pub low_res: &'a [f32],
    /// The classes, `[n]`.
    pub labels: &'a [u32],
    /// The seed of the noise.
    pub seed: u64,
    /// The index of the batch's first sample in the whole run. The noise of a sample depends on its index in the
    /// run, and not on the other samples of the batch.
    pub first_sample: u32,
    /// x_T, `[n, h, w, 3]`, if it is given instead of drawn. For DDIM reverse, it is the image.
    pub start: Option<&'a [f32]>,
    /// The noise of each step, `[steps, n, h, w, 3]`, if it is given instead of drawn.
    pub noise: Option<&'a [f32]>,
}

/// The progress of a run after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The index of the step that was taken, starting at 0.
    pub index: usize,
    /// The number of steps of the run.
    pub steps: usize,
    /// The timestep that the network took as input.
    pub timestep: f32,
}

/// A callback that is called after each step and may stop the run.
pub type OnStep<'a> = dyn FnMut(&mut dyn Executor, Step) -> Result<ControlFlow<()>> + 'a;

/// The source of the noise. Only checks against other programs give it from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseFrom {
    /// The program draws it with Philox, as [`noise`] describes.
    Seed,
    /// The host gives it as [`Batch::start`] and [`Batch::noise`].
    Host,
}

impl SamplingLoop {
    /// Builds the program for a UNet or upsampler with weights from `source`, for `batch` samples.
    ///
    /// # Errors
    /// Returns an error if the weights do not match the configuration, or if the method is invalid.
    pub fn new(
        source: &dyn WeightSource,
        config: &UnetConfig,
        method: &Method,
        batch: usize,
        from: NoiseFrom,
    ) -> Result<Self> {
        let kind = config.noise_schedule.parse::<NoiseSchedule>()?;
        let schedule = Schedule::new(kind, config.diffusion_steps, &method.respacing(config.diffusion_steps))?;
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
        // DDIM reverse starts from an image, never from noise.
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
        Ok(SamplingLoop { program: Arc::new(g.finish()?), timesteps, table, embeddings, classes: config.classes() })
    }

    /// Returns the program, to be loaded on a device.
    pub fn program(&self) -> Arc<Program> {
        self.program.clone()
    }

    /// Returns the number of steps of a run.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// Samples one batch on an executor of [`SamplingLoop::program`]. Returns `[n, h, w, 3]`, approximately
    /// in [-1, 1].
    ///
    /// After each step, `on_step` may read the outputs `x` (the next x_t) and `x_0` (the prediction), and
    /// may stop the run. Each step also reads the output `not_finite`, which has one word per
    /// [`NotFinite::TILE`] elements of x.
    ///
    /// # Errors
    /// Returns an error if an input does not have the program's size, if a class does not exist, if the
    /// device fails, or if a result is not finite. In the last case, the error names the layer that made
    /// the result.
    pub fn run(&self, executor: &mut dyn Executor, batch: &Batch<'_>, on_step: &mut OnStep<'_>) -> Result<Vec<f32>> {
        self.write_inputs(executor, batch, 0)?;
        // The executor's program may be this program reduced to fewer outputs, so its ranges are used.
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

    /// Writes all inputs of a batch, to begin with step `step`.
    ///
    /// # Errors
    /// Returns an error if an input does not have the program's size or is not finite, or if a class does not exist.
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

    /// Returns the error for a step after which x is not finite, which names the op that caused it.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub(crate) fn not_finite(&self, executor: &mut dyn Executor, step: usize) -> Result<Error> {
        let (prologue, body) = (executor.program().prologue(), executor.program().body());
        // Checks the body first, while the values that it read still exist. A finding in the prologue takes
        // precedence, because it is the earlier cause.
        let of_body = executor.find_non_finite(body)?;
        let layer = executor.find_non_finite(prologue)?.or(of_body);
        let layer = layer.unwrap_or_else(|| "the sampler's step".into());
        let got = alloc::format!("NaN or an infinity at step {step}, timestep {}", self.timesteps[step]);
        Ok(Error::not_finite(layer, "finite values", got))
    }
}
