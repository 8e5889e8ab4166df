//! What a job has to show while it runs.

use std::ops::Range;

use image::RgbImage;

use super::Job;
#[cfg(feature = "gpu")]
use crate::Error;
use crate::Result;
#[cfg(feature = "gpu")]
use crate::gpu::{GpuExecutor, Pictures};
use crate::pipeline::preprocessing::to_image;

impl Job {
    /// The samples that [`Job::preview`] and [`Job::show`] have pictures of, by their numbers in the run: those of the batch
    /// that is being sampled; after its last step, until the first one of the next, those of the batch that has ended.
    /// None before the first step.
    pub fn in_view(&self) -> Range<usize> {
        self.in_view.map_or(0..0, |index| index * self.batch..self.total.min((index + 1) * self.batch))
    }

    /// The pictures of [`Job::in_view`] as the network predicts them from where it is (x_0): a blur at first, in the end the
    /// images. Waits for what is under way.
    ///
    /// # Errors
    /// Where the device fails.
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

    /// Records, into a host's encoder, what copies the picture of a sample in [`Job::in_view`] into a texture of the device
    /// that the job runs on: what [`Job::preview`] gives, but it does not wait, and nothing is read back. To be submitted
    /// before the job is advanced.
    ///
    /// # Errors
    /// [`Error::Config`] where the job does not run on a GPU, the texture is of another kind or the sample is not in view;
    /// [`Error::Shape`] where the picture does not lie in the texture.
    #[cfg(feature = "gpu")]
    pub fn show(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        sample: usize,
        place: &crate::gpu::Place<'_>,
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

    /// The executor, where it is a GPU's.
    #[cfg(feature = "gpu")]
    pub(super) fn gpu_executor(&mut self) -> Result<&mut GpuExecutor> {
        let device = &self.decoder.device;
        let executor: &mut dyn std::any::Any = &mut *self.loaded.executor;
        executor
            .downcast_mut()
            .ok_or_else(|| Error::config("device", "a GPU, whose textures and encoders a host has", device.name()))
    }

    /// x_0 as predicted at the last step, `[n, h, w, 3]`, about [-1, 1]; waits.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn x_0(&mut self) -> Result<Vec<f32>> {
        self.settle()?;
        self.loaded.executor.read("x_0")
    }

    /// x_t after the last step, `[n, h, w, 3]`; waits.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn x_t(&mut self) -> Result<Vec<f32>> {
        self.settle()?;
        self.loaded.executor.read("x")
    }

    /// Images from `[n, h, w, 3]`.
    pub(super) fn to_images(&self, x: &[f32]) -> Result<Vec<RgbImage>> {
        let size = self.decoder.config.image_size;
        x.chunks_exact(size * size * 3).map(|values| to_image(values, size as u32, size as u32)).collect()
    }
}
