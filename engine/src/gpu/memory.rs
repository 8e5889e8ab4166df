//! The sizes of a program's buffers on a device, known before the first of them is made.

use super::context::Gpu;
use super::dispatch::{Dispatch, PANEL, Profile, partials_elements, weight_parts};
use crate::Result;
use crate::program::{Memory, Program};
use crate::tensor::DType;
use crate::weights::Recipe;

/// The alignment of a uniform binding's offset, on every device.
pub(super) const UNIFORM_ALIGNMENT: usize = 256;
/// Bytes after each buffer that kernels write, which none may touch: what is written there shows in a guarded executor.
pub(super) const GUARD: usize = 256;

/// The sizes of a program's buffers, in bytes.
pub(super) struct Sizes {
    /// Of each slot of the plan.
    pub slots: Vec<usize>,
    /// Where the parts of split sums lie.
    pub partials: usize,
    /// The parameters of all dispatches.
    pub uniforms: usize,
}

impl Sizes {
    /// Of a program whose ops come to these dispatches.
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

/// What the outputs of a program are read through, once all of them were: buffers that the host may map.
pub(super) fn readings_bytes(program: &Program) -> usize {
    program.outputs().iter().map(|(_, id)| program.value(*id).bytes()).sum()
}

/// The bytes of each buffer of a weight: a matrix lies in whole panels, in as many parts as bindings need.
pub(super) fn weight_bytes(recipe: &Recipe, dtype: DType, profile: &Profile) -> Vec<usize> {
    match recipe {
        Recipe::Matrix { depth, .. } => {
            let parts = weight_parts(*depth, recipe.shape()[1], dtype, profile);
            parts.iter().map(|part| part.len().div_ceil(PANEL) * depth * PANEL * dtype.bytes()).collect()
        }
        _ => vec![recipe.shape().elements() * 4],
    }
}

impl Gpu {
    /// What a program takes on this device, before it is loaded: what its executor will say that it holds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) where a kernel does not fit the device's limits.
    pub fn memory(&self, program: &Program) -> Result<Memory> {
        let Sizes { slots, partials, uniforms } = Sizes::of(program, &self.planned(program)?);
        let weights = program.recipes().flat_map(|(recipe, dtype)| weight_bytes(recipe, dtype, self.profile()));
        Ok(Memory {
            weights: weights.sum(),
            activations: slots.into_iter().sum(),
            scratch: partials + uniforms + readings_bytes(program),
        })
    }
}
