//! Copies of a program's output to a host application's texture, without leaving the device.

use std::sync::Arc;

use super::context::Gpu;
use super::executor::GpuExecutor;
use crate::kernels::ToRgba8;
use crate::program::{Graph, Program};
use crate::weights::Synthetic;
use crate::{Error, Result};

/// A position in a texture for a picture.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// A texture of format `Rgba8Unorm` or `Rgba8UnormSrgb`, with usage `COPY_DST`, on the device that the job runs
    /// on.
    pub texture: &'a wgpu::Texture,
    /// The x coordinate of the picture's upper left corner in the texture, in pixels.
    pub x: u32,
    /// The y coordinate of that corner.
    pub y: u32,
}

/// Converts images `[n, h, w, 3]` of one size to pictures in textures.
pub(crate) struct Pictures {
    executor: GpuExecutor,
    shape: ToRgba8,
}

impl Pictures {
    /// Prepares the conversion of images of this size.
    ///
    /// # Errors
    /// Returns [`Error::OutOfMemory`], [`Error::Shader`] or [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, shape: ToRgba8) -> Result<Self> {
        let executor = GpuExecutor::new(gpu, Arc::new(program(&shape)?), &Synthetic::new(Default::default()))?;
        Ok(Pictures { executor, shape })
    }

    /// Records the commands that copy sample `sample` of an output to a texture. The output's program must be on the
    /// same device. Submits nothing.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if the picture does not fit in the texture at its place, or [`Error::Config`] if the
    /// texture has another format or usage.
    pub fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        source: &GpuExecutor,
        output: &str,
        sample: usize,
        place: &Place<'_>,
    ) -> Result<()> {
        let ToRgba8 { height, width, .. } = self.shape;
        check(place, width as u32, height as u32)?;
        let sample_bytes = (height * width * 3 * size_of::<f32>()) as u64;
        let from = source.buffer_of_output(output)?;
        let to = self.executor.buffer_of_input("source")?;
        encoder.copy_buffer_to_buffer(from, sample as u64 * sample_bytes, to, 0, sample_bytes);
        self.executor.record_body(encoder);
        let buffer = self.executor.buffer_of_output("words")?;
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(4 * self.shape.pitch() as u32),
            rows_per_image: None,
        };
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo { buffer, layout },
            wgpu::TexelCopyTextureInfo {
                texture: place.texture,
                mip_level: 0,
                origin: wgpu::Origin3d { x: place.x, y: place.y, z: 0 },
                aspect: wgpu::TextureAspect::All,
            },
            wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        );
        Ok(())
    }
}

fn program(shape: &ToRgba8) -> Result<Program> {
    let mut g = Graph::new();
    let source = g.input("source", [1, shape.height, shape.width, 3]);
    let words = g.op1("to_rgba8", ToRgba8 { batch: 1, ..shape.clone() }, &[source])?;
    g.output("words", words);
    g.finish()
}

/// Returns an error if the texture cannot hold a picture at its place.
fn check(place: &Place<'_>, width: u32, height: u32) -> Result<()> {
    let texture = place.texture;
    let formats = [wgpu::TextureFormat::Rgba8Unorm, wgpu::TextureFormat::Rgba8UnormSrgb];
    if !formats.contains(&texture.format()) || !texture.usage().contains(wgpu::TextureUsages::COPY_DST) {
        let got = format!("{:?} with {:?}", texture.format(), texture.usage());
        return Err(Error::config("texture", "Rgba8Unorm or Rgba8UnormSrgb with COPY_DST", got));
    }
    let fits = |from: u32, length: u32, whole: u32| from.checked_add(length).is_some_and(|end| end <= whole);
    if !fits(place.x, width, texture.width()) || !fits(place.y, height, texture.height()) {
        let expected = format!("room for {width}x{height} pixels at {}, {}", place.x, place.y);
        return Err(Error::shape("texture", expected, format!("{}x{}", texture.width(), texture.height())));
    }
    Ok(())
}
