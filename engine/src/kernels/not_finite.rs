//! `not_finite`: finds the tiles of a value that hold NaN or an infinity, so that the host reads a few words instead
//! of the whole value.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// Parameters of the test for NaN and infinities, per tile.
///
/// ```text
/// output[t] = 1 if any i of t has bits(x[i]) & 0x7f800000 = 0x7f800000, else 0
/// ```
///
/// A tile `t` is a run of [`NotFinite::TILE`] consecutive elements of the whole value, across pixels and
/// samples; the last one may be shorter. NaN and infinities are the floats whose exponent bits are all set
/// (IEEE 754-2019, 3.4). The test cannot be `x != x`, because a GPU's compiler may assume that there is no NaN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The number of samples.
    pub batch: usize,
    /// The height of the source.
    pub height: usize,
    /// The width of the source.
    pub width: usize,
    /// The number of channels of the source.
    pub channels: usize,
}

/// The buffers that the test reads.
pub struct NotFiniteReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl NotFinite {
    /// The number of elements of a tile.
    pub const TILE: usize = 4096;

    /// Returns the number of elements of the source.
    pub fn elements(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Returns the number of tiles of the whole source.
    pub fn tiles(&self) -> usize {
        self.elements().div_ceil(Self::TILE)
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> NotFiniteReads<'a> {
        NotFiniteReads { source: reads.floats() }
    }
}

impl Parameters for NotFinite {
    fn check(&self, layer: &str) -> Result<()> {
        if [self.batch, self.height, self.width, self.channels].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = [self.batch, self.height, self.width, self.channels];
        Vec::from([Binding::read("source", [n, h, w, c]), Binding::write_u32("output", [self.tiles()])])
    }
}
