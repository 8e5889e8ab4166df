//! From a representation to images that have it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::decoder::{Decoder, SampleOptions};
use super::device::Device;
use super::job::Job;
use super::mapped::MappedModel;
use super::sampling::Method;
use crate::Result;
use crate::models::UnetConfig;
use crate::program::Memory;

/// RCDM (Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>): a diffusion UNet conditioned on a
/// representation, on a device.
pub struct Rcdm {
    decoder: Arc<Decoder>,
}

impl Rcdm {
    /// Opens a decoder's model file.
    ///
    /// # Errors
    /// Where the file is missing or foreign, or its tensors do not fit its configuration.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Ok(Rcdm { decoder: Decoder::open(path, "unet", device)? })
    }

    /// The configuration.
    pub fn config(&self) -> &UnetConfig {
        &self.decoder.config
    }

    /// The file that it was made of.
    pub fn model(&self) -> &MappedModel {
        &self.decoder.model
    }

    /// What a job that samples so many images at once takes on the device, before anything is loaded: weights, which
    /// all jobs share, activations and scratch, which each has of its own. It is what [`Job::memory`] says later.
    ///
    /// # Errors
    /// Where the method is impossible, or the batch does not fit the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        self.decoder.estimate(method, batch)
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
        self.start(representations, options)?.finish_with(on_step)
    }

    /// Begins to sample `options.samples` images of each representation. Loads what is not loaded yet, which takes a
    /// while: weights at the first job, pipelines at the first of a batch size.
    ///
    /// # Errors
    /// As [`Rcdm::sample`].
    pub fn start(&self, representations: &[&[f32]], options: &SampleOptions) -> Result<Job> {
        self.decoder.start(representations.iter().map(|h| h.to_vec()).collect(), options)
    }

    /// Goes on from what [`Job::state`] wrote: on this device, another, or in another process, to the same images.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) where the bytes are no state, or that of another model; as [`Rcdm::start`].
    pub fn resume(&self, state: &[u8]) -> Result<Job> {
        self.decoder.resume(state)
    }
}
