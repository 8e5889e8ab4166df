//! The upsampler, which samples large images from a small one.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::decoder::Decoder;
use super::job::Job;
use super::options::SampleOptions;
use crate::device::Device;
use crate::diffusion::Method;
use crate::images::preprocessing::Preprocessing;
use crate::models::UnetConfig;
use crate::program::Memory;
use crate::weights::OpenModel;
use crate::{Error, Result};

/// An upsampler of guided-diffusion (Dhariwal and Nichol 2021, <https://arxiv.org/abs/2105.05233>) on a device: a
/// diffusion UNet that samples images of `image_size` pixels a side which, scaled down, match an image of `small_size`
/// pixels a side.
///
/// Its runs are [`Job`]s, like those of [`Rcdm`](super::Rcdm). With the same seed, it draws other noise than an `Rcdm`,
/// so that the details that it adds to a sample do not depend on the noise that the sample was made from.
pub struct Upsampler {
    decoder: Arc<Decoder>,
}

impl Upsampler {
    /// Opens an upsampler's model file, of kind `superres`.
    ///
    /// # Errors
    /// Returns an error if the file is missing or invalid, its tensors do not match its configuration, or the model is
    /// also conditioned on a representation.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Upsampler::of(OpenModel::open(path)?, device)
    }

    /// Creates an upsampler of a model file that is open, for example one in memory.
    ///
    /// # Errors
    /// Returns the errors of [`Upsampler::open`].
    pub fn of(model: OpenModel, device: &Device) -> Result<Self> {
        Ok(Upsampler { decoder: Decoder::new(model, "superres", device)? })
    }

    /// Returns the configuration of the UNet.
    pub fn config(&self) -> &UnetConfig {
        &self.decoder.config
    }

    /// Returns the model file.
    pub fn model(&self) -> &OpenModel {
        &self.decoder.model
    }

    /// Returns the device memory that a job needs, like [`Rcdm::estimate`](super::Rcdm::estimate).
    ///
    /// # Errors
    /// Returns an error if the method is invalid, or the batch exceeds the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        self.decoder.estimate(method, batch)
    }

    /// Samples `options.samples` large images of each small one, like
    /// [`Rcdm::sample_all`](super::Rcdm::sample_all) for representations.
    ///
    /// # Errors
    /// Returns [`Error::Image`] if an image is not `small_size` pixels a side, and other errors if an option is
    /// invalid, the device fails, or a result is not finite.
    ///
    /// # Examples
    /// ```no_run
    /// use std::ops::ControlFlow;
    ///
    /// use percept::{Device, SampleOptions, Upsampler};
    /// use percept::images;
    ///
    /// # fn main() -> percept::Result<()> {
    /// let upsampler = Upsampler::open("upsampler.safetensors", &Device::named("auto")?)?;
    /// let small = images::open("128x128.png")?;
    /// let options = SampleOptions { samples: 1, class: Some(207), ..SampleOptions::default() };
    /// let large = upsampler.sample_all(&[&small], &options, &mut |_| ControlFlow::Continue(()))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sample_all(
        &self,
        images: &[&RgbImage],
        options: &SampleOptions,
        on_step: &mut dyn FnMut(&mut Job) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<RgbImage>>> {
        self.start(images, options)?.finish_with(on_step)
    }

    /// Starts a job that samples `options.samples` large images of each small one. Loads the weights and pipelines
    /// that are not loaded yet.
    ///
    /// # Errors
    /// Same as [`Upsampler::sample_all`].
    pub fn start(&self, images: &[&RgbImage], options: &SampleOptions) -> Result<Job> {
        let size = self.config().small_size as u32;
        if let Some(place) = images.iter().position(|image| image.dimensions() != (size, size)) {
            let (width, height) = images[place].dimensions();
            let expected = format!("{size} x {size} pixels, as the upsampler was trained on");
            return Err(Error::image(format!("small image {place}"), expected, format!("{width} x {height}")));
        }
        let preprocessing = Preprocessing::new("rcdm", size)?;
        Job::start(&self.decoder, images.iter().map(|image| preprocessing.to_input(image)).collect(), options)
    }

    /// Resumes a job, like [`Rcdm::resume`](super::Rcdm::resume).
    ///
    /// # Errors
    /// Returns [`Error::File`] if the bytes are not a state, or belong to another model. Otherwise same as
    /// [`Upsampler::start`].
    pub fn resume(&self, state: &[u8]) -> Result<Job> {
        Job::resume(&self.decoder, state)
    }
}
