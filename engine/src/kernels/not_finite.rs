//! `not_finite`: which parts of a value hold NaN or an infinity, so that a few words tell what the host would
//! else look for in all of it.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// The parameters of the test for NaN and infinities
///
/// ```text
/// output[t] = 1 if any i of t has bits(x[i]) & 0x7f800000 = 0x7f800000, else 0
/// ```
///
/// where a tile `t` is a run of [`NotFinite::TILE`] consecutive elements of the whole value, across pixels and
/// samples; the last one may be shorter. NaN and infinities are those floats whose exponent bits are all set
/// (IEEE 754-2019, 3.4). `x != x` would not do: a GPU's compiler may assume that there is no NaN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// Samples.
    pub batch: usize,
    /// Height of the source.
    pub height: usize,
    /// Width of the source.
    pub width: usize,
    /// Channels of the source.
    pub channels: usize,
}

/// The buffers that are tested.
pub struct NotFiniteReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl NotFinite {
    /// Elements of a tile.
    pub const TILE: usize = 4096;

    /// Elements of the source.
    pub fn elements(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Tiles of the whole source.
    pub fn tiles(&self) -> usize {
        self.elements().div_ceil(Self::TILE)
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> NotFiniteReads<'a> {
        NotFiniteReads { source: reads.floats() }
    }
}

impl Parameters for NotFinite {
    fn name(&self) -> &'static str {
        "not_finite"
    }

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
