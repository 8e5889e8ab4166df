//! Half-precision values in host memory. The kernels compute in `f32`, so an op's inputs are widened before it runs
//! and its results are rounded afterwards, one sample at a time if the samples are large.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use crate::kernels::{Binding, Half, Kernel, MAX_BINDINGS, Samples};
use crate::program::{Op, Program};
use crate::tensor::DType;

/// The number of elements that are widened for an op at once, unless a single sample has more: 4 MiB as `f32`.
const AT_ONCE: usize = 1 << 20;

/// The widened buffers, and the parts of the ops, of a program.
pub(super) struct Widening {
    /// The most `f32` elements that any op widens at once, for each buffer position.
    pub floats: [usize; MAX_BINDINGS],
    /// The parts of each op, or `None` if the op runs in one piece.
    parts: Vec<Option<Box<Parts>>>,
}

/// The equal parts that an op runs in.
pub(super) struct Parts {
    /// The kernel of one part.
    pub kernel: Kernel,
    /// The number of parts.
    pub count: usize,
    /// The elements per part of each buffer, or `None` if all parts share the buffer.
    elements: Vec<Option<usize>>,
}

impl Widening {
    pub fn of(program: &Program) -> Self {
        let mut widening = Widening { floats: [0; MAX_BINDINGS], parts: Vec::new() };
        for op in program.ops() {
            let bindings = program.bindings(op);
            let parts = Parts::of(op, &bindings);
            for (place, binding) in bindings.iter().enumerate().filter(|(_, binding)| is_widened(binding)) {
                let all = binding.shape.elements();
                let floats = parts.as_ref().map_or(all, |parts| parts.range(place, 0, all).len());
                widening.floats[place] = widening.floats[place].max(floats);
            }
            widening.parts.push(parts.map(Box::new));
        }
        widening
    }

    /// Returns the parts of an op.
    pub fn parts(&self, op: usize) -> Option<&Parts> {
        self.parts[op].as_deref()
    }
}

impl Parts {
    /// Splits an op, or returns `None` if the op can run in one piece.
    fn of(op: &Op, bindings: &[Binding]) -> Option<Parts> {
        let widened = bindings.iter().filter(|binding| is_widened(binding));
        if widened.map(|binding| binding.shape.elements()).sum::<usize>() <= AT_ONCE {
            return None;
        }
        let Samples { count, elements } = op.kernel.samples()?;
        let (_, kernel) = op.kernel.parameters().with_batch(1)?;
        (count > 1).then_some(Parts { kernel, count, elements })
    }

    /// Returns the elements of part `part` within a buffer of `all` elements.
    pub fn range(&self, place: usize, part: usize, all: usize) -> Range<usize> {
        let elements = self.elements.get(place).copied().flatten();
        elements.map_or(0..all, |elements| part * elements..(part + 1) * elements)
    }
}

/// Returns true if a buffer is widened before a kernel uses it. Weights are not: kernels read them in half precision.
fn is_widened(binding: &Binding) -> bool {
    binding.dtype == DType::F16 && binding.half != Some(Half::Weight)
}
