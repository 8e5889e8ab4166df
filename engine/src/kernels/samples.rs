//! Kernels of fewer samples: an op can be run in parts, a few samples at a time, each on its part of the buffers.

use alloc::vec::Vec;

use super::{
    Attention, AvgPool, Binding, ChannelStats, Concat, Conv, DdimStep, DdpmStep, Embedding, FilmAffine, GroupAffine,
    Kernel, LayerNorm, MaxPool, ResizeBilinear, ToRgba8, Tokens,
};

/// How the buffers of a kernel are made of samples.
pub(crate) struct Samples {
    /// How many there are.
    pub count: usize,
    /// Elements of one sample of each buffer, in binding order; none of a buffer that all samples share.
    pub elements: Vec<Option<usize>>,
}

impl Kernel {
    /// How its buffers are made of samples; none where it has no samples, or counts them, or a buffer is made otherwise.
    pub(crate) fn samples(&self) -> Option<Samples> {
        let (count, _) = self.with_batch(1)?;
        let (_, one_more) = self.with_batch(count + 1)?;
        let (all, more) = (self.parameters().bindings(), one_more.parameters().bindings());
        // What one more sample changes belongs to samples.
        let of_one = |(all, more): (&Binding, &Binding)| match more.shape.elements() - all.shape.elements() {
            0 => Some(None),
            elements => (elements * count == all.shape.elements()).then_some(Some(elements)),
        };
        let elements = all.iter().zip(&more).map(of_one).collect::<Option<_>>()?;
        Some(Samples { count, elements })
    }

    /// Its number of samples, and the same kernel for another; none where it has no samples, or counts them.
    pub(crate) fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        macro_rules! of {
            ($($variant:ident),*) => {
                match self {
                    $(Kernel::$variant(p) => Some((p.batch, Kernel::$variant($variant { batch, ..p.clone() }))),)*
                    // Noise is counted from the first sample on, as are the tiles that are tested for NaN; a linear layer's
                    // rows are split by the matrix.
                    Kernel::Noise(_) | Kernel::NotFinite(_) | Kernel::Dense(_) | Kernel::Advance(_) => None,
                }
            };
        }
        of!(
            Conv,
            Attention,
            AvgPool,
            ChannelStats,
            Concat,
            FilmAffine,
            GroupAffine,
            LayerNorm,
            MaxPool,
            DdimStep,
            DdpmStep,
            Embedding,
            ResizeBilinear,
            ToRgba8,
            Tokens
        )
    }
}
