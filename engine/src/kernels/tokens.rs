//! `tokens`: what a vision transformer begins with.

use alloc::vec::Vec;

use super::{Binding, Half, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// The parameters of putting a transformer's tokens together (Dosovitskiy et al. 2020,
/// <https://arxiv.org/abs/2010.11929>, eq. 1)
///
/// ```text
/// y[n, t]          = prefix[t]                               t < k
/// y[n, k + p w + q] = patches[n, p, q] + positions[p w + q]
/// ```
///
/// where `k` is the length of the prefix: the class token with its position, and registers, all of them the same
/// for every image. A row of `y` has the channels of a patch. Where each image has a prefix of its own, as the mean of
/// its pixels in attention pooling (CLIP, Radford et al. 2021, <https://arxiv.org/abs/2103.00020>), that has positions too
///
/// ```text
/// y[n, t] = (prefix[n] ++ patches[n])[t] + positions[t]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Samples.
    pub batch: usize,
    /// Rows of patches.
    pub height: usize,
    /// Patches of a row.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Tokens before those of the patches.
    pub prefix: usize,
    /// Whether each image has a prefix of its own.
    pub own_prefix: bool,
}

/// The buffers that tokens are made of.
pub struct TokensReads<'a> {
    /// `[n, h, w, c]`
    pub patches: &'a [f32],
    /// `[h * w, c]`, or `[prefix + h * w, c]` where prefixes are the images' own
    pub positions: &'a [f32],
    /// `[prefix, c]`, or `[n, prefix, c]`
    pub prefix: &'a [f32],
}

impl Tokens {
    /// Tokens of one sample.
    pub fn tokens(&self) -> usize {
        self.prefix + self.height * self.width
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> TokensReads<'a> {
        TokensReads { patches: reads.floats(), positions: reads.floats(), prefix: reads.floats() }
    }
}

impl Parameters for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

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
}
