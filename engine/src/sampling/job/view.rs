//! Previews of a job while it runs.

use std::ops::Range;

use image::RgbImage;

use super::Job;
#[cfg(feature = "gpu")]
use crate::Error;
use crate::Result;
#[cfg(feature = "gpu")]
use crate::device::gpu::{GpuExecutor, Pictures};
use crate::images::preprocessing::to_image;

impl Job {
    /// Returns the samples that [`Job::preview`] and [`Job::show`] can show, by their numbers in the run: the samples
    /// of the current batch, or those of the previous batch until the current batch takes its first step. The range is
    /// empty before the first step of the run.
    pub fn in_view(&self) -> Range<usize> {
        self.in_view.map_or(0..0, |index| index * self.batch..self.total.min((index + 1) * self.batch))
    }

    /// Returns images of the samples in [`Job::in_view`] as the network currently predicts them (x_0): blurry at first,
    /// and equal to the finished images in the end. Waits for the steps that are under way.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub fn preview(&mut self) -> Result<Vec<RgbImage>> {
        self.settle()?;
        let count = self.in_view().len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let x_0 = self.loaded.executor.read("x_0")?;
        let mut pictures = self.to_images(&x_0)?;
        pictures.truncate(count);
        Ok(pictures)
    }

    /// Records commands into the host application's encoder that copy the preview of a sample in [`Job::in_view`] into
    /// a texture of the job's device. The image is the same as that of [`Job::preview`], but the call does not wait and
    /// reads nothing back. Submit the encoder before advancing the job.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if the job does not run on a GPU, the texture is of another kind or the sample is not
    /// in view, and [`Error::Shape`] if the image does not fit into the texture at that place.
    #[cfg(feature = "gpu")]
    pub fn show(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        sample: usize,
        place: &crate::device::gpu::Place<'_>,
    ) -> Result<()> {
        let in_view = self.in_view();
        if !in_view.contains(&sample) {
            return Err(Error::config("sample", format!("one in view, {in_view:?}"), sample));
        }
        let gpu = self.gpu_executor()?.gpu().clone();
        let pictures = match self.loaded.pictures.take() {
            Some(pictures) => pictures,
            None => {
                let [height, width] = [self.decoder.config.image_size; 2];
                Pictures::new(&gpu, crate::kernels::ToRgba8 { batch: 1, height, width })?
            }
        };
        let recorded = pictures.record(encoder, self.gpu_executor()?, "x_0", sample - in_view.start, place);
        self.loaded.pictures = Some(pictures);
        recorded
    }

    /// Returns the executor, or an error if it is not a GPU's.
    #[cfg(feature = "gpu")]
    pub(super) fn gpu_executor(&mut self) -> Result<&mut GpuExecutor> {
        let device = &self.decoder.device;
        let executor: &mut dyn std::any::Any = &mut *self.loaded.executor;
        executor
            .downcast_mut()
            .ok_or_else(|| Error::config("device", "a GPU, whose textures and encoders a host has", device.name()))
    }

    /// Returns x_0 as predicted at the last step, `[n, h, w, 3]`, in about [-1, 1]. Waits for the steps that are under
    /// way.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub fn x_0(&mut self) -> Result<Vec<f32>> {
        self.settle()?;
        self.loaded.executor.read("x_0")
    }

    /// Returns x_t after the last step, `[n, h, w, 3]`. Waits for the steps that are under way.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub fn x_t(&mut self) -> Result<Vec<f32>> {
        self.settle()?;
        self.loaded.executor.read("x")
    }

    /// Converts x, `[n, h, w, 3]`, to images.
    pub(super) fn to_images(&self, x: &[f32]) -> Result<Vec<RgbImage>> {
        let size = self.decoder.config.image_size;
        x.chunks_exact(size * size * 3).map(|values| to_image(values, size as u32, size as u32)).collect()
    }
}
