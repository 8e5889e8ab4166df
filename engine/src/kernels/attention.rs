//! `attention`: multi-head self-attention over the pixels of a sample.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// The order of queries, keys and values in the channels of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvOrder {
    /// `[head][q, k, v][channel]`: guided-diffusion's `QKVAttentionLegacy`.
    HeadsFirst,
    /// `[q, k, v][head][channel]`: guided-diffusion's `QKVAttention`, and vision transformers.
    QkvFirst,
}

/// Parameters of multi-head self-attention over the pixels of a sample (Vaswani et al. 2017,
/// <https://arxiv.org/abs/1706.03762>, eq. 1).
///
/// ```text
/// y[n, t, head] = sum_u softmax_u( (q[n, t, head] d^-1/4) . (k[n, u, head] d^-1/4) ) v[n, u, head]
/// ```
///
/// The tokens `t` and `u` are the pixels of one sample, and `d` is `head_channels`. Queries and keys
/// are each scaled by the square root of the usual factor, so that no product overflows in half
/// precision. A transformer's `[n, t, c]` is an image of height `t` and width 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// The number of samples.
    pub batch: usize,
    /// The height of the source.
    pub height: usize,
    /// The width of the source.
    pub width: usize,
    /// The number of heads.
    pub heads: usize,
    /// The number of channels of one head.
    pub head_channels: usize,
    /// The order of queries, keys and values in the source.
    pub order: QkvOrder,
}

/// The buffers that attention reads.
pub struct AttentionReads<'a> {
    /// `[n, h, w, 3 * heads * head_channels]`
    pub qkv: &'a [f32],
}

impl Attention {
    /// Returns the number of tokens of one sample.
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// Returns the number of channels of the result.
    pub fn channels(&self) -> usize {
        self.heads * self.head_channels
    }

    /// Returns the offsets, in a pixel of the source, at which the queries, keys and values of a head begin.
    pub fn offsets(&self, head: usize) -> [usize; 3] {
        let d = self.head_channels;
        match self.order {
            QkvOrder::HeadsFirst => [0, 1, 2].map(|part| (3 * head + part) * d),
            QkvOrder::QkvFirst => [0, 1, 2].map(|part| (part * self.heads + head) * d),
        }
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> AttentionReads<'a> {
        AttentionReads { qkv: reads.floats() }
    }
}

impl Parameters for Attention {
    fn check(&self, layer: &str) -> Result<()> {
        let sizes = [self.batch, self.height, self.width, self.heads, self.head_channels];
        if sizes.contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = [self.batch, self.height, self.width, self.channels()];
        let bindings = [Binding::read("qkv", [n, h, w, 3 * c]), Binding::write("output", [n, h, w, c])];
        Vec::from(bindings.map(|binding| binding.or_half(Half::Source, in_fours(&[self.head_channels]))))
    }

    fn multiply_adds(&self) -> u64 {
        let tokens = self.tokens() as u64;
        2 * (self.batch * self.channels()) as u64 * tokens * tokens
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, Attention { batch, ..self.clone() }.into()))
    }
}
