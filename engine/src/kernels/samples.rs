//! Running an op in parts: a few samples at a time, each part on its share of the buffers.

use alloc::vec::Vec;

use super::{Binding, Kernel};

/// The way the buffers of a kernel divide into samples.
pub(crate) struct Samples {
    /// The number of samples.
    pub count: usize,
    /// The number of elements per sample of each buffer, in binding order; `None` for a buffer that all
    /// samples share.
    pub elements: Vec<Option<usize>>,
}

impl Kernel {
    /// Returns how the kernel's buffers divide into samples.
    ///
    /// Returns `None` if [`Parameters::with_batch`](super::Parameters::with_batch) does, or if a buffer that grows with
    /// the batch is not made of equal samples.
    pub(crate) fn samples(&self) -> Option<Samples> {
        let (count, _) = self.parameters().with_batch(1)?;
        let (_, one_more) = self.parameters().with_batch(count + 1)?;
        let (all, more) = (self.parameters().bindings(), one_more.parameters().bindings());
        // A buffer that grows with one more sample is divided; all samples share the others.
        let of_one = |(all, more): (&Binding, &Binding)| match more.shape.elements() - all.shape.elements() {
            0 => Some(None),
            elements => (elements * count == all.shape.elements()).then_some(Some(elements)),
        };
        let elements = all.iter().zip(&more).map(of_one).collect::<Option<_>>()?;
        Some(Samples { count, elements })
    }
}
