//! `tokens`: what a vision transformer begins with.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
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
/// for every image. A row of `y` has the channels of a patch.
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
}

/// The buffers that tokens are made of.
pub struct TokensReads<'a> {
    /// `[n, h, w, c]`
    pub patches: &'a [f32],
    /// `[h * w, c]`
    pub positions: &'a [f32],
    /// `[prefix, c]`
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
        Vec::from([
            Binding::read("patches", [n, h, w, c]),
            Binding::read("positions", [h * w, c]),
            Binding::read("prefix", [self.prefix, c]),
            Binding::write("output", [n, self.tokens(), c]),
        ])
    }
}
