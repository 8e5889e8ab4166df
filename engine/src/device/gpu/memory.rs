//! The sizes of a program's buffers on a device, computed before any buffer is made.

use super::context::Gpu;
use super::dispatch::{Capabilities, Dispatch, PANEL, partials_elements, weight_parts};
use crate::Result;
use crate::program::{Memory, Program};
use crate::tensor::DType;
use crate::weights::Recipe;

/// The alignment of a uniform binding's offset, on every device.
pub(super) const UNIFORM_ALIGNMENT: usize = 256;
/// The size of the guard zone after each buffer that kernels write, in bytes. No kernel may write to it; a guarded
/// executor detects if one does.
pub(super) const GUARD: usize = 256;

/// The sizes of a program's buffers, in bytes.
pub(super) struct Sizes {
    /// The size of each slot of the plan.
    pub slots: Vec<usize>,
    /// The size of the partial results of split sums.
    pub partials: usize,
    /// The size of the parameters of all dispatches.
    pub uniforms: usize,
}

impl Sizes {
    /// Returns the sizes for a program whose ops lower to these dispatches.
    pub fn of(program: &Program, planned: &[Vec<Dispatch>]) -> Self {
        let elements = planned.iter().map(|dispatches| partials_elements(dispatches)).max().unwrap_or(0);
        let of_params = |dispatch: &Dispatch| (dispatch.params.len() * 4).next_multiple_of(UNIFORM_ALIGNMENT);
        Sizes {
            slots: program.plan().slot_bytes().iter().map(|bytes| bytes + GUARD).collect(),
            partials: 4 * elements.max(1) + GUARD,
            uniforms: planned.iter().flatten().map(of_params).sum::<usize>().max(UNIFORM_ALIGNMENT),
        }
    }
}

/// Returns the bytes of the mappable buffers that the outputs are read through, once all outputs have been read.
pub(super) fn readings_bytes(program: &Program) -> usize {
    program.outputs().iter().map(|(_, id)| program.value(*id).bytes()).sum()
}

/// Returns the bytes of each buffer of a weight. A matrix consists of whole panels, in as many parts as bindings
/// require.
pub(super) fn weight_bytes(recipe: &Recipe, dtype: DType, capabilities: &Capabilities) -> Vec<usize> {
    match recipe {
        Recipe::Matrix { depth, .. } => {
            let parts = weight_parts(*depth, recipe.shape()[1], dtype, capabilities);
            parts.iter().map(|part| part.len().div_ceil(PANEL) * depth * PANEL * dtype.bytes()).collect()
        }
        _ => vec![recipe.shape().elements() * 4],
    }
}

impl Gpu {
    /// Returns the maximum size of one value of a program, in bytes: that of a buffer, less its guard zone.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.capabilities().max_buffer_bytes - GUARD
    }

    /// Returns the memory that a program will take on the device, as its executor will report it, without loading it.
    ///
    /// # Errors
    /// Returns [`Error::OutOfMemory`](crate::Error::OutOfMemory) if a kernel does not fit the device's limits.
    pub fn memory(&self, program: &Program) -> Result<Memory> {
        let Sizes { slots, partials, uniforms } = Sizes::of(program, &self.planned(program)?);
        let weights = program.recipes().flat_map(|(recipe, dtype)| weight_bytes(recipe, dtype, self.capabilities()));
        Ok(Memory {
            weights: weights.sum(),
            activations: slots.into_iter().sum(),
            scratch: partials + uniforms + readings_bytes(program),
        })
    }
}
