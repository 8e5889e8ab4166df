//! Values of half precision in host memory, whose kernels compute on floats: what an op reads is widened for it, what it
//! writes is rounded, a sample at a time where samples are large.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Op, Program};
use crate::kernels::{Binding, Half, Kernel, MAX_BINDINGS};
use crate::tensor::DType;

/// Floats that are widened for an op at once, unless a sample alone has more: as many as a cache holds.
const AT_ONCE: usize = 1 << 20;

/// The equal parts that an op is run in.
pub(super) struct Parts {
    /// The kernel of one part.
    pub kernel: Kernel,
    /// How many there are.
    pub count: usize,
    /// Elements of a part of each buffer; none where all parts share it.
    elements: [Option<usize>; MAX_BINDINGS],
    /// Floats that a part of each buffer is widened to.
    pub floats: [usize; MAX_BINDINGS],
}

impl Parts {
    /// Those of every op of a program.
    pub fn of(program: &Program) -> Vec<Parts> {
        program.ops().iter().map(|op| Parts::of_op(op, &program.bindings(op))).collect()
    }

    fn of_op(op: &Op, bindings: &[Binding]) -> Parts {
        let widened = |binding: &&Binding| binding.dtype == DType::F16 && binding.half != Some(Half::Weight);
        let floats: usize = bindings.iter().filter(widened).map(|binding| binding.shape.elements()).sum();
        let by_samples = (floats > AT_ONCE).then(|| op.kernel.samples().zip(op.kernel.with_batch(1))).flatten();
        let (kernel, count, of_samples) = match by_samples {
            Some((samples, (_, one))) => (one, samples.count, samples.elements),
            None => (op.kernel.clone(), 1, alloc::vec![None; bindings.len()]),
        };
        let mut parts = Parts { kernel, count, elements: [None; MAX_BINDINGS], floats: [0; MAX_BINDINGS] };
        for (place, (binding, of_sample)) in bindings.iter().zip(of_samples).enumerate() {
            parts.elements[place] = of_sample;
            if widened(&binding) {
                parts.floats[place] = of_sample.unwrap_or(binding.shape.elements());
            }
        }
        parts
    }

    /// The elements of a buffer of so many that a part is about.
    pub fn range(&self, place: usize, part: usize, all: usize) -> Range<usize> {
        self.elements[place].map_or(0..all, |elements| part * elements..(part + 1) * elements)
    }
}

/// The most floats of any op, by the places of its buffers.
pub(super) fn most_floats(parts: &[Parts]) -> [usize; MAX_BINDINGS] {
    core::array::from_fn(|place| parts.iter().map(|parts| parts.floats[place]).max().unwrap_or(0))
}
