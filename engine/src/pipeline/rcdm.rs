//! From a representation to images that have it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use image::RgbImage;

use super::batch::{BATCH_BYTES, even_batch, sensible_batch};
use super::device::{Device, DeviceWeights};
use super::job::{Job, Status};
use super::mapped::{MappedModel, config_of, open_model, sha256};
use super::pace::Pace;
use super::sampling::{Method, NoiseFrom, Sampling, check_finite};
use super::start::{Start, Starting};
use super::state::{State, foreign};
use crate::models::UnetConfig;
use crate::program::{Executor, Memory};
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The most images of one run: their noise is counted by 32 bits.
const MAX_SAMPLES: usize = u32::MAX as usize;

/// RCDM (Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>): a diffusion UNet conditioned on a
/// representation, on a device.
pub struct Rcdm {
    shared: Arc<Shared>,
}

/// What an [`Rcdm`] and its jobs share.
pub(super) struct Shared {
    model: MappedModel,
    pub config: UnetConfig,
    pub device: Device,
    sha256: OnceLock<String>,
    on_device: Mutex<OnDevice>,
}

/// What lies on the device.
#[derive(Default)]
struct OnDevice {
    /// Of all jobs; loaded by the first.
    weights: Option<DeviceWeights>,
    /// What the last run left, used again where the next one has the same method and batch size.
    idle: Option<Loaded>,
}

/// A sampling program on the device.
pub(super) struct Loaded {
    pub method: Method,
    pub batch: usize,
    pub sampling: Sampling,
    pub executor: Box<dyn Executor>,
    pub pace: Pace,
    /// What shows its images in a host's textures, once that was asked for.
    #[cfg(feature = "gpu")]
    pub pictures: Option<crate::gpu::Pictures>,
}

/// What to sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOptions {
    /// Images per representation.
    pub samples: usize,
    /// Sampler and steps.
    pub method: Method,
    /// What the noise is drawn from. The same seed gives the same images, whatever the batch size.
    pub seed: u64,
    /// How many images are computed at once; without it as many as fit into 512 MiB, at most 16.
    pub batch: Option<usize>,
    /// The class, for a model that wants one.
    pub class: Option<u32>,
    /// What the samples begin as.
    pub start: Start,
    /// The number of the first sample, where this is a part of a larger run: noise depends on a sample's number.
    pub first_sample: u32,
    /// Bytes that the run may take on the device, as [`Rcdm::estimate`] counts them: a batch is made small enough.
    pub memory: Option<usize>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions {
            samples: 4,
            method: Method::ddpm(25),
            seed: 0,
            batch: None,
            class: None,
            start: Start::Drawn,
            first_sample: 0,
            memory: None,
        }
    }
}

impl Shared {
    /// SHA-256 of the model file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| sha256(&self.model))
    }

    /// Leaves a program, nothing of which is under way, to the next job.
    pub fn put_back(&self, loaded: Loaded) {
        self.on_device().idle = Some(loaded);
    }

    /// A holder's panic leaves nothing half done.
    fn on_device(&self) -> std::sync::MutexGuard<'_, OnDevice> {
        self.on_device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sampling program of a method and batch size.
    fn load(&self, method: &Method, batch: usize) -> Result<Loaded> {
        let mut on_device = self.on_device();
        let is_same = |loaded: &Loaded| (&loaded.method, loaded.batch) == (method, batch);
        // What does not fit is freed before more is asked for.
        if let Some(loaded) = on_device.idle.take().filter(is_same) {
            return Ok(loaded);
        }
        let sampling = Sampling::new(&self.model, &self.config, method, batch, NoiseFrom::Seed)?;
        let program = sampling.program();
        let weights = match &on_device.weights {
            Some(weights) => weights.clone(),
            None => self.device.load_weights(&program, &self.model)?,
        };
        on_device.weights = Some(weights.clone());
        let executor = self.device.executor(program.clone(), &weights)?;
        Ok(Loaded {
            method: method.clone(),
            batch,
            sampling,
            executor,
            pace: Pace::new(&program),
            #[cfg(feature = "gpu")]
            pictures: None,
        })
    }
}

impl Rcdm {
    /// Opens a decoder's model file.
    ///
    /// # Errors
    /// Where the file is missing or foreign, or its tensors do not fit its configuration.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let model = open_model(path)?;
        let config = config_of(&model, "unet", UnetConfig::from_json)?;
        // The weights are accounted for now, not when the first image is asked for.
        let all_steps = Method { respacing: String::new(), ..Method::ddpm(1) };
        Sampling::new(&model, &config, &all_steps, 1, NoiseFrom::Seed).map_err(|error| error.within(model.name()))?;
        let (sha256, on_device) = (OnceLock::new(), Mutex::default());
        Ok(Rcdm { shared: Arc::new(Shared { model, config, device: device.clone(), sha256, on_device }) })
    }

    /// The configuration.
    pub fn config(&self) -> &UnetConfig {
        &self.shared.config
    }

    /// The file that it was made of.
    pub fn model(&self) -> &MappedModel {
        &self.shared.model
    }

    /// What a job that samples so many images at once takes on the device, before anything is loaded: weights, which
    /// all jobs share, activations and scratch, which each has of its own. It is what [`Job::memory`] says later.
    ///
    /// # Errors
    /// Where the method is impossible, or the batch does not fit the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        let Shared { model, config, device, .. } = &*self.shared;
        device.memory(&Sampling::new(model, config, method, batch, NoiseFrom::Seed)?.program())
    }

    /// Samples images whose representation is `h`; waits for them.
    ///
    /// # Errors
    /// Where `h` has another length than the model's, an option is impossible, the device fails or a
    /// result is not finite.
    ///
    /// # Examples
    /// ```no_run
    /// use percept::pipeline::{Device, Rcdm, SampleOptions};
    ///
    /// # fn main() -> percept::Result<()> {
    /// let rcdm = Rcdm::open("decoder.safetensors".as_ref(), &Device::named("auto")?)?;
    /// let h = vec![0.0; rcdm.config().ssl_dim];
    /// let images = rcdm.sample(&h, &SampleOptions { samples: 8, ..SampleOptions::default() })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sample(&self, h: &[f32], options: &SampleOptions) -> Result<Vec<RgbImage>> {
        let mut rows = self.start(&[h], options)?.finish()?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Samples `options.samples` images of each representation, in batches that may span several of
    /// them, and calls `on_step` after each step, which may look at the job; a [`ControlFlow::Break`] stops the run with
    /// the images that are whole by then. Sample j of representation i is number `i * samples + j` of the run, which is
    /// what its noise depends on.
    ///
    /// # Errors
    /// As [`Rcdm::sample`].
    pub fn sample_all(
        &self,
        representations: &[&[f32]],
        options: &SampleOptions,
        on_step: &mut dyn FnMut(&mut Job) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<RgbImage>>> {
        let mut job = self.start(representations, options)?;
        let token = job.token();
        while job.progress().status == Status::Running {
            job.step()?;
            if on_step(&mut job).is_break() {
                token.cancel();
            }
        }
        job.finish()
    }

    /// Begins to sample `options.samples` images of each representation. Loads what is not loaded yet, which takes a
    /// while: weights at the first job, pipelines at the first of a batch size.
    ///
    /// # Errors
    /// As [`Rcdm::sample`].
    pub fn start(&self, representations: &[&[f32]], options: &SampleOptions) -> Result<Job> {
        let total = self.check(representations, options)?;
        let batch = self.fitting_batch(options, total)?;
        self.job(representations.iter().map(|h| h.to_vec()).collect(), options.clone(), total, batch)
    }

    /// Goes on from what [`Job::state`] wrote: on this device, another, or in another process, to the same images.
    ///
    /// # Errors
    /// [`Error::File`] where the bytes are no state, or that of another model; as [`Rcdm::start`].
    pub fn resume(&self, state: &[u8]) -> Result<Job> {
        let state = State::from_bytes(state, self.shared.config.image_size)?;
        if state.model != self.shared.sha256() {
            let expected = format!("one of {}, SHA-256 {}", self.shared.model.name(), self.shared.sha256());
            return Err(foreign(expected, format!("one of the model {}", state.model)));
        }
        let representations: Vec<&[f32]> = state.representations.iter().map(Vec::as_slice).collect();
        let total = self.check(&representations, &state.options)?;
        let batch = state.options.batch.unwrap_or(1).min(total.max(1));
        if state.images.len() > total || (state.images.len() < total && state.images.len() % batch != 0) {
            return Err(foreign(format!("whole batches of {batch} of {total} images"), state.images.len()));
        }
        let mut job = self.job(state.representations.clone(), state.options.clone(), total, batch)?;
        job.go_on(state)?;
        Ok(job)
    }

    fn job(&self, rows: Vec<Vec<f32>>, options: SampleOptions, total: usize, batch: usize) -> Result<Job> {
        let starting = Starting::new(&options.start, &self.shared.config, &options.method, total)?;
        let loaded = self.shared.load(&options.method, batch)?;
        Job::new(self.shared.clone(), loaded, rows, (options, starting), total)
    }

    /// Refuses what cannot be sampled; returns how many images there are to be.
    fn check(&self, representations: &[&[f32]], options: &SampleOptions) -> Result<usize> {
        if options.samples == 0 || options.batch == Some(0) {
            return Err(Error::config("samples and batch", "1 or more", 0));
        }
        let total = representations.len().checked_mul(options.samples).filter(|&total| {
            let before = options.first_sample as usize;
            total <= MAX_SAMPLES - before
        });
        let total = total.ok_or_else(|| {
            let (samples, first) = (options.samples, options.first_sample);
            let got = format!("{samples} of each of {} representations, from number {first} on", representations.len());
            Error::config("samples", format!("at most {MAX_SAMPLES} in all"), got)
        })?;
        let dim = self.shared.config.ssl_dim;
        if let Some(h) = representations.iter().find(|h| h.len() != dim) {
            let expected = format!("{dim} elements, as the decoder was trained on");
            return Err(Error::shape("representation", expected, h.len()));
        }
        representations.iter().try_for_each(|h| check_finite("representation", h))?;
        match (options.class, self.shared.config.classes()) {
            (Some(class), 0) => Err(Error::config("class", "none: the model is not class-conditional", class)),
            (None, classes @ 1..) => {
                Err(Error::config("class", format!("0 to {}: the model wants one", classes - 1), "none"))
            }
            _ => Ok(total),
        }
    }

    /// The batch that is asked for, or the largest one that is sensible; made smaller until it fits the memory, and so
    /// that all batches are of one size, for which one program is enough.
    fn fitting_batch(&self, options: &SampleOptions, total: usize) -> Result<usize> {
        let even = |most: usize| even_batch(most, total);
        let mut batch = even(match options.batch {
            Some(batch) => batch,
            None => self.sensible_batch(&options.method)?,
        });
        let Some(most) = options.memory else { return Ok(batch) };
        loop {
            let needed = self.estimate(&options.method, batch)?.total();
            if needed <= most {
                return Ok(batch);
            }
            if batch == 1 {
                return Err(Error::out_of_memory("memory", format!("{needed} bytes, for a batch of one"), most));
            }
            // Not too small: what all samples share is counted as if it were theirs.
            let share = batch as u128 * most as u128 / needed as u128;
            batch = even((share as usize).clamp(1, batch - 1));
        }
    }

    /// As large as pays, and fits the device's buffers.
    fn sensible_batch(&self, method: &Method) -> Result<usize> {
        let Shared { model, config, device, .. } = &*self.shared;
        let one = Sampling::new(model, config, method, 1, NoiseFrom::Seed)?.program();
        Ok(sensible_batch(&one, device, BATCH_BYTES))
    }
}
