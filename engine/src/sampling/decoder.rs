//! The diffusion UNet on a device that [`Rcdm`](super::Rcdm) and [`Upsampler`](super::Upsampler) share, and that jobs
//! sample from.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::pace::Pace;
use crate::device::Executor;
use crate::device::batch::{BATCH_BYTES, sensible_batch};
use crate::device::{Device, DeviceWeights};
use crate::diffusion::{Method, NoiseFrom, SamplingLoop};
use crate::models::{Model, UnetConfig};
use crate::program::Memory;
use crate::weights::OpenModel;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The bits in which an upsampler's noise seed differs from the run's seed. An upsampler thus draws other noise than
/// the decoder that sampled its small image, even if both runs have the same seed.
const UPSAMPLER_KEY: u64 = u64::from_be_bytes(*b"upsample");

/// The model that jobs share.
pub(super) struct Decoder {
    pub model: OpenModel,
    pub config: UnetConfig,
    pub device: Device,
    sha256: OnceLock<String>,
    on_device: Mutex<OnDevice>,
}

/// The weights and the idle program on the device.
#[derive(Default)]
struct OnDevice {
    /// The weights, which all jobs share. The first job loads them.
    weights: Option<DeviceWeights>,
    /// The program of the last job. The next job reuses it if it has the same method and batch size.
    idle: Option<Loaded>,
}

/// A sampling program on the device.
pub(super) struct Loaded {
    pub method: Method,
    pub batch: usize,
    pub sampling: SamplingLoop,
    pub executor: Box<dyn Executor>,
    pub pace: Pace,
    /// Copies images into the host's textures. `None` until the first request.
    #[cfg(feature = "gpu")]
    pub pictures: Option<crate::device::gpu::Pictures>,
}

impl Decoder {
    /// Creates a decoder of a model file of the given kind, `unet` or `superres`.
    ///
    /// # Errors
    /// Returns an error if the file is of another kind, or its tensors do not match its configuration.
    pub fn new(model: OpenModel, kind: &str, device: &Device) -> Result<Arc<Self>> {
        let config = match Model::of_file(&model)? {
            Model::Unet(config) if kind == "unet" => *config,
            Model::Superres(config) if kind == "superres" => *config,
            other => {
                let expected = format!("a model of kind {kind:?}");
                return Err(Error::file(model.name(), expected, format!("{:?}", other.kind())));
            }
        };
        if config.small_size > 0 && config.ssl_dim > 0 {
            let expected = "0: an upsampler takes a small image and a class, and no representation";
            return Err(Error::config("ssl_dim", expected, config.ssl_dim).within(model.name()));
        }
        // Checks the weights now rather than when the first job starts.
        let all_steps = Method { steps: "".into(), ..Method::ddpm(1) };
        SamplingLoop::new(&model, &config, &all_steps, 1, NoiseFrom::Seed)
            .map_err(|error| error.within(model.name()))?;
        let (sha256, on_device) = (OnceLock::new(), Mutex::default());
        Ok(Arc::new(Decoder { model, config, device: device.clone(), sha256, on_device }))
    }

    /// Returns the SHA-256 of the model file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| self.model.sha256())
    }

    /// Returns the seed of the noise of a run with the given seed.
    pub fn noise_seed(&self, seed: u64) -> u64 {
        if self.config.small_size > 0 { seed ^ UPSAMPLER_KEY } else { seed }
    }

    /// Returns the device memory that a job with the given method and batch size needs, without loading anything.
    ///
    /// # Errors
    /// Returns an error if the method is invalid, or the batch exceeds the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        self.device.memory(&SamplingLoop::new(&self.model, &self.config, method, batch, NoiseFrom::Seed)?.program())
    }

    /// Keeps a program for the next job. None of its ops may be under way.
    pub fn put_back(&self, loaded: Loaded) {
        self.on_device().idle = Some(loaded);
    }

    /// Locks the device's contents. Ignores poisoning, because a panic leaves them consistent.
    fn on_device(&self) -> std::sync::MutexGuard<'_, OnDevice> {
        self.on_device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the sampling program for a method and batch size, or reuses the idle one.
    pub fn load(&self, method: &Method, batch: usize) -> Result<Loaded> {
        let mut on_device = self.on_device();
        // A state names the steps of its method as a respacing.
        let key = |method: &Method| (method.sampler, method.respacing(self.config.diffusion_steps), method.clip);
        let is_same = |loaded: &Loaded| key(&loaded.method) == key(method) && loaded.batch == batch;
        // Frees the idle program, if it does not match, before allocating another.
        if let Some(loaded) = on_device.idle.take().filter(is_same) {
            return Ok(loaded);
        }
        let sampling = SamplingLoop::new(&self.model, &self.config, method, batch, NoiseFrom::Seed)?;
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

    /// Returns the default batch size: the largest one that pays off and fits the device's buffers.
    pub fn sensible_batch(&self, method: &Method) -> Result<usize> {
        let one = SamplingLoop::new(&self.model, &self.config, method, 1, NoiseFrom::Seed)?.program();
        Ok(sensible_batch(&one, &self.device, BATCH_BYTES))
    }
}
