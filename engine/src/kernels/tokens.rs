//! `tokens`: builds the input tokens of a vision transformer.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// Parameters of the input tokens of a vision transformer: a prefix, then the patches with their
/// positions (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>, eq. 1).
///
/// ```text
/// y[n, t]          = prefix[t]                               t < k
/// y[n, k + p w + q] = patches[n, p, q] + positions[p w + q]
/// ```
///
/// Here `k` is the length of the prefix: the class token with its position, and registers. The prefix is the same
/// for every image. A row of `y` has as many channels as a patch.
///
/// If each image has its own prefix, such as the mean of its pixels in attention pooling (CLIP, Radford et al. 2021,
/// <https://arxiv.org/abs/2103.00020>), the prefix has positions too:
///
/// ```text
/// y[n, t] = (prefix[n] ++ patches[n])[t] + positions[t]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The number of samples.
    pub batch: usize,
    /// The number of rows of patches.
    pub height: usize,
    /// The number of patches of a row.
    pub width: usize,
    /// The number of channels.
    pub channels: usize,
    /// The number of tokens before those of the patches.
    pub prefix: usize,
    /// True if each image has its own prefix.
    pub own_prefix: bool,
}

/// The buffers that the kernel reads.
pub struct TokensReads<'a> {
    /// `[n, h, w, c]`
    pub patches: &'a [f32],
    /// `[h * w, c]`, or `[prefix + h * w, c]` if each image has its own prefix
    pub positions: &'a [f32],
    /// `[prefix, c]`, or `[n, prefix, c]` if each image has its own prefix
    pub prefix: &'a [f32],
}

impl Tokens {
    /// Returns the number of tokens of one sample.
    pub fn tokens(&self) -> usize {
        self.prefix + self.height * self.width
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> TokensReads<'a> {
        TokensReads { patches: reads.floats(), positions: reads.floats(), prefix: reads.floats() }
    }
}

impl Parameters for Tokens {
    fn check(&self, layer: &str) -> Result<()> {
        if [self.batch, self.height, self.width, self.channels, self.prefix].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = [self.batch, self.height, self.width, self.channels];
        let half = |binding: Binding| binding.or_half(Half::Source, in_fours(&[c]));
        Vec::from([
            half(Binding::read("patches", [n, h, w, c])),
            Binding::read("positions", [if self.own_prefix { self.tokens() } else { h * w }, c]),
            Binding::read("prefix", [if self.own_prefix { n } else { 1 }, self.prefix, c]),
            half(Binding::write("output", [n, self.tokens(), c])),
        ])
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, Tokens { batch, ..self.clone() }.into()))
    }
}
