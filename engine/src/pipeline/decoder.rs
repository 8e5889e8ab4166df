//! What [`Rcdm`](super::Rcdm) and [`Upsampler`](super::Upsampler) are: a diffusion UNet on a device, which jobs sample from.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::batch::{BATCH_BYTES, even_batch, sensible_batch};
use super::device::{Device, DeviceWeights};
use super::job::Job;
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
/// What an upsampler's seed differs by from that of the noise that it draws: of an image that was itself sampled it is to
/// draw other noise than that was made of, also where both have one seed.
const UPSAMPLER_KEY: u64 = u64::from_be_bytes(*b"upsample");

/// What jobs share.
pub(super) struct Decoder {
    pub model: MappedModel,
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
    /// Images per representation, or per small image.
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
    /// Bytes that the run may take on the device, as [`Rcdm::estimate`](super::Rcdm::estimate) counts them: a batch is made
    /// small enough.
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

impl Decoder {
    /// Opens a model file of a kind, `unet` or `superres`.
    ///
    /// # Errors
    /// Where the file is missing or foreign, or its tensors do not fit its configuration.
    pub fn open(path: &Path, kind: &str, device: &Device) -> Result<Arc<Self>> {
        let model = open_model(path)?;
        let config = config_of(&model, kind, |json| match UnetConfig::of_kind(kind, json)? {
            config if config.small_size > 0 && config.ssl_dim > 0 => {
                let expected = "0: an upsampler is told a small image and a class";
                Err(Error::config("ssl_dim", expected, config.ssl_dim))
            }
            config => Ok(config),
        })?;
        // The weights are accounted for now, not when the first image is asked for.
        let all_steps = Method { respacing: String::new(), ..Method::ddpm(1) };
        Sampling::new(&model, &config, &all_steps, 1, NoiseFrom::Seed).map_err(|error| error.within(model.name()))?;
        let (sha256, on_device) = (OnceLock::new(), Mutex::default());
        Ok(Arc::new(Decoder { model, config, device: device.clone(), sha256, on_device }))
    }

    /// SHA-256 of the model file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| sha256(&self.model))
    }

    /// What noise is drawn from by a run of this seed.
    pub fn noise_seed(&self, seed: u64) -> u64 {
        if self.config.small_size > 0 { seed ^ UPSAMPLER_KEY } else { seed }
    }

    /// What a job of such batches takes on the device, before anything is loaded.
    ///
    /// # Errors
    /// Where the method is impossible, or the batch does not fit the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        self.device.memory(&Sampling::new(&self.model, &self.config, method, batch, NoiseFrom::Seed)?.program())
    }

    /// Begins to sample `options.samples` images of each condition: a representation, or a small image `[h, w, c]`.
    ///
    /// # Errors
    /// Where a condition has another length than the model's, an option is impossible or the device fails.
    pub fn start(self: &Arc<Self>, conditions: Vec<Vec<f32>>, options: &SampleOptions) -> Result<Job> {
        let total = self.check(&conditions, options)?;
        let batch = self.fitting_batch(options, total)?;
        self.job(conditions, options.clone(), total, batch)
    }

    /// Goes on from what [`Job::state`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] where the bytes are no state, or that of another model; as [`Decoder::start`].
    pub fn resume(self: &Arc<Self>, state: &[u8]) -> Result<Job> {
        let state = State::from_bytes(state, &self.config)?;
        if state.model != self.sha256() {
            let expected = format!("one of {}, SHA-256 {}", self.model.name(), self.sha256());
            return Err(foreign(expected, format!("one of the model {}", state.model)));
        }
        let total = self.check(&state.conditions, &state.options)?;
        let batch = state.options.batch.unwrap_or(1).min(total.max(1));
        if state.images.len() > total || (state.images.len() < total && state.images.len() % batch != 0) {
            return Err(foreign(format!("whole batches of {batch} of {total} images"), state.images.len()));
        }
        let mut job = self.job(state.conditions.clone(), state.options.clone(), total, batch)?;
        job.go_on(state)?;
        Ok(job)
    }

    fn job(self: &Arc<Self>, rows: Vec<Vec<f32>>, options: SampleOptions, total: usize, batch: usize) -> Result<Job> {
        let starting = Starting::new(&options.start, &self.config, &options.method, total)?;
        let loaded = self.load(&options.method, batch)?;
        Job::new(self.clone(), loaded, rows, (options, starting), total)
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

    /// Refuses what cannot be sampled; returns how many images there are to be.
    fn check(&self, conditions: &[Vec<f32>], options: &SampleOptions) -> Result<usize> {
        if options.samples == 0 || options.batch == Some(0) {
            return Err(Error::config("samples and batch", "1 or more", 0));
        }
        let (what, length, expected) = match (self.config.small_size, self.config.ssl_dim) {
            (0, dim) => ("representation", dim, format!("{dim} elements, as the decoder was trained on")),
            (size, _) => ("small image", size * size * 3, format!("{size}x{size} pixels of 3 channels")),
        };
        let (samples, first) = (options.samples, options.first_sample);
        let fits = |total: &usize| *total <= MAX_SAMPLES - first as usize;
        let total = conditions.len().checked_mul(samples).filter(fits).ok_or_else(|| {
            let got = format!("{samples} of each {what}, of {}, from number {first} on", conditions.len());
            Error::config("samples", format!("at most {MAX_SAMPLES} in all"), got)
        })?;
        if let Some(odd) = conditions.iter().find(|condition| condition.len() != length) {
            return Err(Error::shape(what, expected, odd.len()));
        }
        conditions.iter().try_for_each(|condition| check_finite(what, condition))?;
        match (options.class, self.config.classes()) {
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
        let one = Sampling::new(&self.model, &self.config, method, 1, NoiseFrom::Seed)?.program();
        Ok(sensible_batch(&one, &self.device, BATCH_BYTES))
    }
}
