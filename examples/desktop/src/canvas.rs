//! The grid of samples as a texture, filled by the GPU itself, or from the host if percept runs on the CPU.

use eframe::egui;
use eframe::egui_wgpu::RenderState;
use image::RgbImage;
use percept::Job;
use percept::Result;
use percept::device::gpu::Place;
use percept::wgpu;

/// The gap between two samples, in pixels of the samples.
const GAP: u32 = 1;
const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// A grid of square samples.
pub struct Canvas {
    render: RenderState,
    texture: wgpu::Texture,
    id: egui::TextureId,
    /// The pixels per side of a sample.
    size: u32,
    columns: u32,
    /// True if percept runs on the window's device.
    is_shared: bool,
}

impl Canvas {
    /// Creates a canvas for `samples` samples of `size` x `size` pixels.
    pub fn new(render: &RenderState, samples: u32, size: u32, is_shared: bool) -> Self {
        let columns = (samples as f32).sqrt().ceil() as u32;
        let length = |count: u32| count * (size + GAP) - GAP;
        let texture = render.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("samples"),
            size: wgpu::Extent3d {
                width: length(columns),
                height: length(samples.div_ceil(columns)),
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let id = render.renderer.write().register_native_texture(&render.device, &view, wgpu::FilterMode::Nearest);
        Canvas { render: render.clone(), texture, id, size, columns, is_shared }
    }

    /// Shows the samples that a job has in view.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub fn update(&self, job: &mut Job) -> Result<()> {
        let samples = job.in_view();
        if !self.is_shared {
            let pictures = job.preview()?;
            samples.zip(&pictures).for_each(|(sample, picture)| self.write(sample, picture));
            return Ok(());
        }
        let mut encoder = self.render.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for sample in samples {
            let (x, y) = self.place(sample);
            job.show(&mut encoder, sample, &Place { texture: &self.texture, x, y })?;
        }
        self.render.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Returns the texture for egui, and its size in pixels.
    pub fn image(&self) -> (egui::TextureId, egui::Vec2) {
        (self.id, egui::vec2(self.texture.width() as f32, self.texture.height() as f32))
    }

    fn place(&self, sample: usize) -> (u32, u32) {
        let (row, column) = (sample as u32 / self.columns, sample as u32 % self.columns);
        (column * (self.size + GAP), row * (self.size + GAP))
    }

    fn write(&self, sample: usize, picture: &RgbImage) {
        let (x, y) = self.place(sample);
        let rgba: Vec<u8> = picture.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
        let to = wgpu::TexelCopyTextureInfo { origin: wgpu::Origin3d { x, y, z: 0 }, ..self.texture.as_image_copy() };
        let layout =
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * self.size), rows_per_image: None };
        let size = wgpu::Extent3d { width: self.size, height: self.size, depth_or_array_layers: 1 };
        self.render.queue.write_texture(to, &rgba, layout, size);
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        self.render.renderer.write().free_texture(&self.id);
    }
}
