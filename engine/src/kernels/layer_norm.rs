//! `layer_norm`: normalises tokens over their channels.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// Parameters of a layer norm of tokens over their channels (Ba, Kiros and Hinton 2016,
/// <https://arxiv.org/abs/1607.06450>, eq. 3-4).
///
/// ```text
/// y[n, i, c] = (x[n, first + i, c] - mean[n, i]) / sqrt(var[n, i] + eps) * gamma[c] + beta[c]
/// ```
///
/// The mean and the biased variance are over the channels of token `first + i`, for `i` from 0 to
/// `count - 1`. A network's last norm may need only the class token, or only the patches after it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// The number of samples.
    pub batch: usize,
    /// The number of tokens of one sample.
    pub tokens: usize,
    /// The first token that is normalised.
    pub first: usize,
    /// The number of tokens that are normalised.
    pub count: usize,
    /// The number of channels.
    pub channels: usize,
    /// The constant that is added to the variance.
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
    /// Returns the source token, counted over all samples, that row `row` of the result is computed from.
    pub fn token(&self, row: usize) -> usize {
        row / self.count * self.tokens + self.first + row % self.count
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> LayerNormReads<'a> {
        LayerNormReads { source: reads.floats(), gamma: reads.floats(), beta: reads.floats() }
    }
}

impl Parameters for LayerNorm {
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

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, LayerNorm { batch, ..self.clone() }.into()))
    }
}
