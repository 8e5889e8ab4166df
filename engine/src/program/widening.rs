//! Values of half precision in host memory, whose kernels compute on floats: what an op reads is widened for it, what it
//! writes is rounded, a sample at a time where samples are large.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Op, Program};
use crate::kernels::{Binding, Half, Kernel, MAX_BINDINGS, Samples};
use crate::tensor::DType;

/// Floats that are widened for an op at once, unless a sample alone has more: 4 MiB of them.
const AT_ONCE: usize = 1 << 20;

/// What is widened for the ops of a program, and in which parts.
pub(super) struct Widening {
    /// The most floats of any op, by the places of its buffers.
    pub floats: [usize; MAX_BINDINGS],
    /// The parts of each op; none of one that is run as it is.
    parts: Vec<Option<Box<Parts>>>,
}

/// The equal parts that an op is run in.
pub(super) struct Parts {
    /// The kernel of one part.
    pub kernel: Kernel,
    /// How many there are.
    pub count: usize,
    /// Elements of a part of each buffer; none where all parts share it.
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

    /// The parts of an op.
    pub fn parts(&self, op: usize) -> Option<&Parts> {
        self.parts[op].as_deref()
    }
}

impl Parts {
    /// Those of an op that is not run at once.
    fn of(op: &Op, bindings: &[Binding]) -> Option<Parts> {
        let widened = bindings.iter().filter(|binding| is_widened(binding));
        if widened.map(|binding| binding.shape.elements()).sum::<usize>() <= AT_ONCE {
            return None;
        }
        let Samples { count, elements } = op.kernel.samples()?;
        let (_, kernel) = op.kernel.with_batch(1)?;
        (count > 1).then_some(Parts { kernel, count, elements })
    }

    /// The elements of a buffer of so many that a part is about.
    pub fn range(&self, place: usize, part: usize, all: usize) -> Range<usize> {
        let elements = self.elements.get(place).copied().flatten();
        elements.map_or(0..all, |elements| part * elements..(part + 1) * elements)
    }
}

/// Weights are read as they are.
fn is_widened(binding: &Binding) -> bool {
    binding.dtype == DType::F16 && binding.half != Some(Half::Weight)
}
