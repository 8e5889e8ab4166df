//! `concat`: the concatenation of two values along the channels.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// Parameters of the concatenation of two values along the channels.
///
/// ```text
/// y[n, p, q] = source[n, p, q] ++ second[n, p, q]
/// ```
///
/// Convolutions and group norms read two sources directly. This kernel is for a skip connection that
/// needs the concatenation itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The number of samples.
    pub batch: usize,
    /// The height of the sources.
    pub height: usize,
    /// The width of the sources.
    pub width: usize,
    /// The number of channels of the first and of the second source.
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
    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ConcatReads<'a> {
        ConcatReads { source: reads.floats(), second: reads.floats() }
    }
}

impl Parameters for Concat {
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

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, Concat { batch, ..self.clone() }.into()))
    }
}
