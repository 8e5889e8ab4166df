//! From a small image to large ones that it may have been made of.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::decoder::{Decoder, SampleOptions};
use super::device::Device;
use super::job::Job;
use super::mapped::MappedModel;
use super::preprocessing::Preprocessing;
use super::sampling::Method;
use crate::models::UnetConfig;
use crate::program::Memory;
use crate::{Error, Result};

/// An upsampler of guided-diffusion (Dhariwal and Nichol 2021, <https://arxiv.org/abs/2105.05233>) on a device: a diffusion
/// UNet that samples images of `image_size` pixels a side which, made smaller, are an image of `small_size`.
///
/// Runs are [`Job`]s, as those of [`Rcdm`](super::Rcdm) are. From the same seed it draws other noise than an `Rcdm`, so that
/// what it adds to a sample does not follow from the noise that the sample was made of.
pub struct Upsampler {
    decoder: Arc<Decoder>,
}

impl Upsampler {
    /// Opens an upsampler's model file, of kind `superres`.
    ///
    /// # Errors
    /// Where the file is missing or foreign, its tensors do not fit its configuration, or a representation conditions it,
    /// too.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Ok(Upsampler { decoder: Decoder::open(path, "superres", device)? })
    }

    /// The configuration.
    pub fn config(&self) -> &UnetConfig {
        &self.decoder.config
    }

    /// The file that it was made of.
    pub fn model(&self) -> &MappedModel {
        &self.decoder.model
    }

    /// As [`Rcdm::estimate`](super::Rcdm::estimate).
    ///
    /// # Errors
    /// Where the method is impossible, or the batch does not fit the device's limits.
    pub fn estimate(&self, method: &Method, batch: usize) -> Result<Memory> {
        self.decoder.estimate(method, batch)
    }

    /// Samples `options.samples` large images of each small one, as [`Rcdm::sample_all`](super::Rcdm::sample_all) does of
    /// representations.
    ///
    /// # Errors
    /// [`Error::Image`] where an image is not of `small_size` pixels a side; where an option is impossible, the device fails
    /// or a result is not finite.
    ///
    /// # Examples
    /// ```no_run
    /// use std::ops::ControlFlow;
    ///
    /// use percept::pipeline::{Device, SampleOptions, Upsampler, image_file};
    ///
    /// # fn main() -> percept::Result<()> {
    /// let upsampler = Upsampler::open("upsampler.safetensors".as_ref(), &Device::named("auto")?)?;
    /// let small = image_file::open("128x128.png")?;
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

    /// Begins to sample `options.samples` large images of each small one. Loads what is not loaded yet.
    ///
    /// # Errors
    /// As [`Upsampler::sample_all`].
    pub fn start(&self, images: &[&RgbImage], options: &SampleOptions) -> Result<Job> {
        let size = self.config().small_size as u32;
        if let Some(place) = images.iter().position(|image| image.dimensions() != (size, size)) {
            let (width, height) = images[place].dimensions();
            let expected = format!("{size} x {size} pixels, as the upsampler was trained on");
            return Err(Error::image(format!("small image {place}"), expected, format!("{width} x {height}")));
        }
        let preprocessing = Preprocessing::new("rcdm", size)?;
        self.decoder.start(images.iter().map(|image| preprocessing.to_input(image)).collect(), options)
    }

    /// As [`Rcdm::resume`](super::Rcdm::resume).
    ///
    /// # Errors
    /// [`Error::File`] where the bytes are no state, or that of another model; as [`Upsampler::start`].
    pub fn resume(&self, state: &[u8]) -> Result<Job> {
        self.decoder.resume(state)
    }
}
