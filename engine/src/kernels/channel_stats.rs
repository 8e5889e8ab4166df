//! `channel_stats`: mean and spread of every channel, tile by tile: what group norms are made of.

use alloc::vec::Vec;

use super::{Binding, Half, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// The parameters of the statistics of a value's channels
///
/// ```text
/// mean[n, t, c] = sum_{p in t} x[n, p, c] / |t|
/// M2[n, t, c]   = sum_{p in t} (x[n, p, c] - mean[n, t, c])^2
/// ```
///
/// where a tile `t` is a run of `tile` consecutive pixels of one sample; the last one may be shorter.
/// Kept per tile, they need no subtraction of large sums, and whatever makes the value can gather
/// them while it writes it, as [`Conv`](super::Conv) does. [`GroupAffine`](super::GroupAffine) merges
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStats {
    /// Samples.
    pub batch: usize,
    /// Height of the source.
    pub height: usize,
    /// Width of the source.
    pub width: usize,
    /// Channels of the source.
    pub channels: usize,
    /// Pixels of a tile.
    pub tile: usize,
}

/// The buffers that statistics are taken of.
pub struct ChannelStatsReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl ChannelStats {
    /// Tiles of one sample.
    pub fn tiles(&self) -> usize {
        (self.height * self.width).div_ceil(self.tile)
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ChannelStatsReads<'a> {
        ChannelStatsReads { source: reads.floats() }
    }
}

impl Parameters for ChannelStats {
    fn name(&self) -> &'static str {
        "channel_stats"
    }

    fn check(&self, layer: &str) -> Result<()> {
        if [self.batch, self.height, self.width, self.channels, self.tile].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = [self.batch, self.height, self.width, self.channels];
        let source = Binding::read("source", [n, h, w, c]).or_half(Half::Source, in_fours(&[c]));
        Vec::from([source, Binding::write("output", [n, self.tiles(), 2, c])])
    }
}
