//! Weights on the device. Matrices are stored in panels, in buffers that each fit in a binding.

use std::borrow::Cow;
use std::sync::Arc;

use super::context::Gpu;
use super::dispatch::PANEL;
use super::memory::weight_bytes;
use crate::program::Program;
use crate::tensor::{DType, halves_mut};
use crate::weights::{Halver, Recipe, WeightRounding, WeightSource};
use crate::{Error, Result};

/// The number of bytes handed to the driver at once. Each write is staged in memory until it is submitted.
const CHUNK: usize = 16 << 20;

/// The weights of a program on a GPU.
pub struct GpuWeights {
    /// The program that the weights were loaded for.
    program: Arc<Program>,
    weights: Vec<Weight>,
    rounding: WeightRounding,
}

impl GpuWeights {
    /// Makes the weights of a program from `source` and uploads them.
    ///
    /// # Errors
    /// If a tensor cannot be read, contains NaN or an infinity, or exceeds the range of half precision. If the device
    /// fails, returns [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn load(gpu: &Gpu, program: &Arc<Program>, source: &dyn WeightSource) -> Result<Self> {
        let (mut weights, mut rounding) = (Vec::new(), WeightRounding::default());
        for (recipe, dtype) in program.recipes() {
            let mut upload = Upload { gpu, dtype, halver: Halver::new(), pending: 0 };
            weights.push(Weight::load(&mut upload, recipe, source)?);
            if dtype == DType::F16 {
                let added = rounding.add(&recipe.name(), upload.halver.rounding);
                added.map_err(|error| error.within(source.name()))?;
            }
        }
        Ok(GpuWeights { program: program.clone(), weights, rounding })
    }

    /// Returns the rounding errors of the weights that are stored in half precision.
    pub fn rounding(&self) -> &WeightRounding {
        &self.rounding
    }

    /// Returns true if these are the weights of `program`.
    pub fn are_of(&self, program: &Program) -> bool {
        self.program.recipes().eq(program.recipes())
    }

    /// Returns a weight by its index.
    pub(super) fn at(&self, place: usize) -> &Weight {
        &self.weights[place]
    }

    /// Returns the size of all weights, in bytes.
    pub fn bytes(&self) -> usize {
        self.weights.iter().map(Weight::bytes).sum()
    }
}

/// A weight, in one buffer for each of its [`weight_parts`](super::dispatch::weight_parts).
pub(super) struct Weight {
    pub parts: Vec<wgpu::Buffer>,
}

impl Weight {
    /// Makes a weight and uploads it, part by part and in chunks.
    ///
    /// # Errors
    /// If a tensor cannot be read, or a buffer cannot be allocated.
    fn load(upload: &mut Upload<'_>, recipe: &Recipe, source: &dyn WeightSource) -> Result<Self> {
        let gpu = upload.gpu;
        let sizes = weight_bytes(recipe, upload.dtype, gpu.capabilities());
        let buffers: Vec<_> =
            sizes.into_iter().map(|bytes| buffer(gpu, &recipe.name(), bytes)).collect::<Result<_>>()?;
        match recipe {
            Recipe::Matrix { depth, .. } => {
                let (columns, panel_bytes) = (recipe.shape()[1], depth * PANEL * upload.dtype.bytes());
                // All parts but the last have the same number of panels.
                let panels_per_part = buffers[0].size() as usize / panel_bytes;
                let mut panels = Panels { depth: *depth, columns, panel: vec![0.0; depth * PANEL] };
                let mut outcome = Ok(());
                recipe.load_parts(source, |first_column, columns, part| {
                    let put = panels.fill(first_column, columns, part, |index, panel| {
                        let offset = index % panels_per_part * panel_bytes;
                        upload.write(&buffers[index / panels_per_part], offset, panel)
                    });
                    if outcome.is_ok() {
                        outcome = put;
                    }
                })?;
                outcome?;
            }
            _ => upload.write(&buffers[0], 0, &recipe.load(source)?)?,
        }
        upload.finish()?;
        Ok(Weight { parts: buffers })
    }

    /// Returns the size of all parts, in bytes.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.size() as usize).sum()
    }
}

/// Creates a storage buffer.
pub(super) fn buffer(gpu: &Gpu, name: &str, bytes: usize) -> Result<wgpu::Buffer> {
    let most = gpu.capabilities().max_buffer_bytes;
    if bytes > most {
        return Err(Error::out_of_memory(name, format!("at most {most} bytes, as {} allows", gpu.name()), bytes));
    }
    gpu.scoped(name, || {
        Ok(gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size: (bytes as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        }))
    })
    .map_err(|error| match error {
        Error::OutOfMemory(_) => Error::out_of_memory(name, format!("{bytes} bytes on {}", gpu.name()), "less"),
        other => other,
    })
}

/// The panel of a matrix that is currently being filled.
struct Panels {
    depth: usize,
    columns: usize,
    /// `[depth, PANEL]`
    panel: Vec<f32>,
}

impl Panels {
    /// Appends `part`, of shape `[depth, columns]`, to the panels, and passes each full panel to `full`.
    fn fill(
        &mut self,
        first_column: usize,
        columns: usize,
        part: &[f32],
        mut full: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < columns {
            let column = first_column + done;
            let (index, place) = (column / PANEL, column % PANEL);
            let count = (PANEL - place).min(columns - done);
            for (to, from) in self.panel.chunks_exact_mut(PANEL).zip(part.chunks_exact(columns)) {
                to[place..place + count].copy_from_slice(&from[done..done + count]);
            }
            done += count;
            let is_last = column + count == self.columns;
            if place + count == PANEL || is_last {
                if is_last {
                    self.panel.chunks_exact_mut(PANEL).for_each(|row| row[place + count..].fill(0.0));
                }
                full(index, &self.panel[..self.depth * PANEL])?;
            }
        }
        Ok(())
    }
}

/// A writer to the device that keeps at most one chunk in progress.
struct Upload<'a> {
    gpu: &'a Gpu,
    /// The type that values are stored in.
    dtype: DType,
    halver: Halver,
    /// The number of bytes that were written but not submitted.
    pending: usize,
}

impl Upload<'_> {
    fn write(&mut self, buffer: &wgpu::Buffer, offset: usize, values: &[f32]) -> Result<()> {
        let step = CHUNK / self.dtype.bytes();
        for (index, chunk) in values.chunks(step).enumerate() {
            let words = match self.dtype {
                DType::F16 => {
                    let mut words = vec![0; chunk.len().div_ceil(2)];
                    self.halver.round(chunk, &mut halves_mut(&mut words)[..chunk.len()]);
                    Cow::Owned(words)
                }
                _ => Cow::Borrowed(bytemuck::cast_slice(chunk)),
            };
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            if self.pending + bytes.len() > CHUNK {
                self.finish()?;
            }
            self.gpu.queue().write_buffer(buffer, (offset + index * CHUNK) as u64, bytes);
            self.pending += bytes.len();
        }
        Ok(())
    }

    /// Waits until everything that was written has arrived.
    fn finish(&mut self) -> Result<()> {
        self.pending = 0;
        let index = self.gpu.queue().submit([]);
        self.gpu.wait(Some(index))
    }
}
