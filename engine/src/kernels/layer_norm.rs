//! `layer_norm`: tokens normalised over their channels.

use alloc::vec::Vec;

use super::{Binding, Half, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// The parameters of a layer norm (Ba, Kiros and Hinton 2016, <https://arxiv.org/abs/1607.06450>, eq. 3-4)
///
/// ```text
/// y[n, i, c] = (x[n, first + i, c] - mean[n, i]) / sqrt(var[n, i] + eps) * gamma[c] + beta[c]
/// ```
///
/// where mean and variance, which is biased, are over the channels of token `first + i`, for `i` from 0 to
/// `count - 1`: of what is normalised last, a class token or the patches behind it may be all that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Samples.
    pub batch: usize,
    /// Tokens of one sample.
    pub tokens: usize,
    /// The first token that is normalised.
    pub first: usize,
    /// How many tokens are normalised.
    pub count: usize,
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// The buffers that a layer norm reads.
pub struct LayerNormReads<'a> {
    /// `[n, tokens, c]`
    pub source: &'a [f32],
    /// `[c]`
    pub gamma: &'a [f32],
    /// `[c]`
    pub beta: &'a [f32],
}

impl LayerNorm {
    /// The token that row `row` of the result is made of, counted over all samples.
    pub fn token(&self, row: usize) -> usize {
        row / self.count * self.tokens + self.first + row % self.count
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> LayerNormReads<'a> {
        LayerNormReads { source: reads.floats(), gamma: reads.floats(), beta: reads.floats() }
    }
}

impl Parameters for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn check(&self, layer: &str) -> Result<()> {
        if [self.batch, self.count, self.channels].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        if self.first.checked_add(self.count).is_none_or(|end| end > self.tokens) {
            return Err(Error::shape(
                layer,
                alloc::format!("a part of {} tokens", self.tokens),
                alloc::format!("{} from token {} on", self.count, self.first),
            ));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, c] = [self.batch, self.channels];
        Vec::from([
            Binding::read("source", [n, self.tokens, c]).or_half(Half::Source, in_fours(&[c])),
            Binding::read("gamma", [c]),
            Binding::read("beta", [c]),
            Binding::write("output", [n, self.count, c]).or_half(Half::Result, in_fours(&[c])),
        ])
    }
}
