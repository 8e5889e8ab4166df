//! From a representation to images that have it.

use std::ops::ControlFlow;
use std::path::Path;

use image::RgbImage;

use super::device::Device;
use super::mapped::{MappedModel, config_of, open_model};
use super::preprocessing::to_image;
use super::sampling::{Batch, Method, NoiseFrom, Sampling};
use crate::models::UnetConfig;
use crate::program::Executor;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// Activations that a batch whose size is not given may take, in bytes.
const BATCH_BYTES: usize = 512 << 20;
/// The most samples of a batch whose size is not given.
const BATCH_MAX: usize = 16;
/// The most images of one run: their noise is counted by 32 bits.
const MAX_SAMPLES: usize = u32::MAX as usize;

/// RCDM (Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>): a diffusion UNet conditioned on a
/// representation, on a device.
pub struct Rcdm {
    model: MappedModel,
    config: UnetConfig,
    device: Device,
    /// The last run's, used again where the next one has the same method and batch size.
    loaded: Option<Loaded>,
}

struct Loaded {
    method: Method,
    batch: usize,
    sampling: Sampling,
    executor: Box<dyn Executor>,
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
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions { samples: 4, method: Method::ddpm(25), seed: 0, batch: None, class: None }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps taken, over all batches.
    pub done: usize,
    /// Of how many.
    pub total: usize,
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
        Ok(Rcdm { model, config, device: device.clone(), loaded: None })
    }

    /// The configuration.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// The file that it was made of.
    pub fn model(&self) -> &MappedModel {
        &self.model
    }

    /// Samples images whose representation is `h`.
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
    /// let mut rcdm = Rcdm::open("decoder.safetensors".as_ref(), &Device::named("auto")?)?;
    /// let h = vec![0.0; rcdm.config().ssl_dim];
    /// let images = rcdm.sample(&h, &SampleOptions { samples: 8, ..SampleOptions::default() })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sample(&mut self, h: &[f32], options: &SampleOptions) -> Result<Vec<RgbImage>> {
        let mut rows = self.sample_all(&[h], options, &mut |_| ControlFlow::Continue(()))?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Samples `options.samples` images of each representation, in batches that may span several of
    /// them, and reports after each step; a [`ControlFlow::Break`] stops the run with the images that are
    /// whole by then. Sample j of representation i is number `i * samples + j` of the run, which is what
    /// its noise depends on.
    ///
    /// # Errors
    /// As [`Rcdm::sample`].
    pub fn sample_all(
        &mut self,
        representations: &[&[f32]],
        options: &SampleOptions,
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<RgbImage>>> {
        let total = self.check(representations, options)?;
        if total == 0 {
            return Ok(Vec::new());
        }
        let batch = match options.batch {
            Some(batch) => batch.min(total),
            None => self.fitting_batch(&options.method, total)?,
        };
        // Batches of one size, so that no two programs are needed: the last one may sample too many.
        let batches = total.div_ceil(batch);
        let batch = total.div_ceil(batches);
        self.load(&options.method, batch)?;
        let Some(Loaded { sampling, executor, .. }) = &mut self.loaded else {
            return Ok(Vec::new());
        };

        let size = self.config.image_size;
        let mut rows: Vec<Vec<RgbImage>> = representations.iter().map(|_| Vec::new()).collect();
        let (mut stopped, mut is_whole) = (false, false);
        for index in 0..batches {
            let first = index * batch;
            let of_sample = |place: usize| (first + place).min(total - 1) / options.samples;
            let feat: Vec<f32> =
                (0..batch).flat_map(|place| representations[of_sample(place)].iter().copied()).collect();
            let labels = options.class.map_or(Vec::new(), |class| vec![class; batch]);
            let inputs = Batch {
                feat: if self.config.ssl_dim > 0 { &feat } else { &[] },
                labels: &labels,
                seed: options.seed,
                first_sample: first as u32,
                start: None,
                noise: None,
            };
            let x = sampling.run(executor.as_mut(), &inputs, &mut |_, step| {
                let progress = Progress { done: index * step.steps + step.index + 1, total: batches * step.steps };
                let flow = on_step(progress);
                stopped = flow.is_break();
                is_whole = step.index + 1 == step.steps;
                Ok(flow)
            })?;
            if !is_whole {
                break;
            }
            for (place, values) in x.chunks_exact(size * size * 3).enumerate().take(total - first) {
                rows[of_sample(place)].push(to_image(values, size as u32, size as u32)?);
            }
            if stopped {
                break;
            }
        }
        Ok(rows)
    }

    /// Refuses what cannot be sampled; returns how many images there are to be.
    fn check(&self, representations: &[&[f32]], options: &SampleOptions) -> Result<usize> {
        if options.samples == 0 || options.batch == Some(0) {
            return Err(Error::config("samples and batch", "1 or more", 0));
        }
        let total = representations.len().checked_mul(options.samples).filter(|&total| total <= MAX_SAMPLES);
        let total = total.ok_or_else(|| {
            let got = format!("{} of each of {} representations", options.samples, representations.len());
            Error::config("samples", format!("at most {MAX_SAMPLES} in all"), got)
        })?;
        let dim = self.config.ssl_dim;
        if let Some(h) = representations.iter().find(|h| h.len() != dim) {
            let expected = format!("{dim} elements, as the decoder was trained on");
            return Err(Error::shape("representation", expected, h.len()));
        }
        match (options.class, self.config.classes()) {
            (Some(class), 0) => Err(Error::config("class", "none: the model is not class-conditional", class)),
            (None, classes @ 1..) => {
                Err(Error::config("class", format!("0 to {}: the model wants one", classes - 1), "none"))
            }
            _ => Ok(total),
        }
    }

    fn fitting_batch(&self, method: &Method, total: usize) -> Result<usize> {
        let one = Sampling::new(&self.model, &self.config, method, 1, NoiseFrom::Seed)?;
        let per_sample = one.program().memory().activations.max(1);
        let largest = one.program().plan().slot_bytes().iter().copied().max().unwrap_or(0).max(1);
        let most = (BATCH_BYTES / per_sample).min(self.device.max_value_bytes() / largest);
        Ok(most.clamp(1, BATCH_MAX).min(total))
    }

    fn load(&mut self, method: &Method, batch: usize) -> Result<()> {
        if self.loaded.as_ref().is_some_and(|loaded| (&loaded.method, loaded.batch) == (method, batch)) {
            return Ok(());
        }
        // The old weights go before the new ones come.
        self.loaded = None;
        let sampling = Sampling::new(&self.model, &self.config, method, batch, NoiseFrom::Seed)?;
        let executor = self.device.load(sampling.program(), &self.model)?;
        self.loaded = Some(Loaded { method: method.clone(), batch, sampling, executor });
        Ok(())
    }
}
