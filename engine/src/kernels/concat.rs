//! `concat`: two values side by side in the channels.

use alloc::vec::Vec;

use super::{Binding, Half, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// The parameters of a concatenation
///
/// ```text
/// y[n, p, q] = source[n, p, q] ++ second[n, p, q]
/// ```
///
/// Convolutions and group norms take two sources as they are; this is for a skip that is the
/// concatenation itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// Samples.
    pub batch: usize,
    /// Height.
    pub height: usize,
    /// Width.
    pub width: usize,
    /// Channels of the first and of the second source.
    pub channels: [usize; 2],
}

/// The buffers that a concatenation reads.
pub struct ConcatReads<'a> {
    /// `[n, h, w, channels.0]`
    pub source: &'a [f32],
    /// `[n, h, w, channels.1]`
    pub second: &'a [f32],
}

impl Concat {
    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ConcatReads<'a> {
        ConcatReads { source: reads.floats(), second: reads.floats() }
    }
}

impl Parameters for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn check(&self, layer: &str) -> Result<()> {
        let [first, second] = self.channels;
        if [self.batch, self.height, self.width, first, second].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w] = [self.batch, self.height, self.width];
        let [first, second] = self.channels;
        let bindings = [
            Binding::read("source", [n, h, w, first]),
            Binding::read("second", [n, h, w, second]),
            Binding::write("output", [n, h, w, first + second]),
        ];
        Vec::from(bindings.map(|binding| binding.or_half(Half::Source, in_fours(&self.channels))))
    }
}
