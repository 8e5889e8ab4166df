//! The decoder, which samples images from a representation.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::decoder::Decoder;
use super::job::Job;
use super::options::SampleOptions;
use crate::Result;
use crate::device::Device;
use crate::diffusion::Method;
use crate::models::UnetConfig;
use crate::program::Memory;
use crate::weights::OpenModel;

/// RCDM (Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>): a diffusion UNet conditioned on a
/// representation, on a device.
pub struct Rcdm {
    decoder: Arc<Decoder>,
}

impl Rcdm {
    /// Opens a decoder's model file.
    ///
    /// # Errors
    /// Returns an error if the file is missing or invalid, or its tensors do not match its configuration.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Rcdm::of(OpenModel::open(path)?, device)
    }

    /// Creates a decoder of a model file that is open, for example one in memory.
    ///
    /// # Errors
    /// Returns the errors of [`Rcdm::open`].
    pub fn of(model: OpenModel, device: &Device) -> Result<Self> {
        Ok(Rcdm { decoder: Decoder::new(model, "unet", device)? })
    }

    /// Returns the configuration of the UNet.
    pub fn config(&self) -> &UnetConfig {
        &self.decoder.config
    }

    /// Returns the model file.
    pub fn model(&self) -> &OpenModel {
        &self.decoder.model
    }

    /// Returns the device memory that a job with batches of `batch` images needs, without loading anything: the
    /// weights, which all jobs share, and each job's own activations and scratch. [`Job::memory`] of a job returns the
    /// same.
    ///
    /// # Errors
    /// Returns an error if the method is invalid, or the batch exceeds the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        self.decoder.estimate(method, batch)
    }

    /// Samples images from the representation `h`, and waits until they are complete.
    ///
    /// # Errors
    /// Returns an error if `h` does not have the length that the model expects, an option is invalid, the device fails,
    /// or a result is not finite.
    ///
    /// # Examples
    /// ```no_run
    /// use percept::{Device, Rcdm, SampleOptions};
    ///
    /// # fn main() -> percept::Result<()> {
    /// let rcdm = Rcdm::open("decoder.safetensors", &Device::named("auto")?)?;
    /// let h = vec![0.0; rcdm.config().ssl_dim];
    /// let images = rcdm.sample(&h, &SampleOptions { samples: 8, ..SampleOptions::default() })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sample(&self, h: &[f32], options: &SampleOptions) -> Result<Vec<RgbImage>> {
        let mut rows = self.start(&[h], options)?.finish()?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Samples `options.samples` images of each representation, in batches that may span several representations.
    /// Calls `on_step` after each step with the job. If it returns [`ControlFlow::Break`], the run stops and the images
    /// that are complete are returned. Sample j of representation i has the number `i * samples + j` in the run, which
    /// determines its noise.
    ///
    /// # Errors
    /// Same as [`Rcdm::sample`].
    pub fn sample_all(
        &self,
        representations: &[&[f32]],
        options: &SampleOptions,
        on_step: &mut dyn FnMut(&mut Job) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<RgbImage>>> {
        self.start(representations, options)?.finish_with(on_step)
    }

    /// Starts a job that samples `options.samples` images of each representation. The first job loads the weights, and
    /// the first job of each batch size creates the pipelines, which takes a while.
    ///
    /// # Errors
    /// Same as [`Rcdm::sample`].
    pub fn start(&self, representations: &[&[f32]], options: &SampleOptions) -> Result<Job> {
        Job::start(&self.decoder, representations.iter().map(|h| h.to_vec()).collect(), options)
    }

    /// Resumes a job from a state that [`Job::state`] returned, on any device and in any process. The job samples the
    /// same images as without the interruption.
    ///
    /// # Errors
    /// Returns [`Error::File`](crate::Error::File) if the bytes are not a state, or belong to another model. Otherwise
    /// same as [`Rcdm::start`].
    pub fn resume(&self, state: &[u8]) -> Result<Job> {
        Job::resume(&self.decoder, state)
    }
}
