//! `channel_stats`: the mean and spread of every channel per tile, from which group norms are computed.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// Parameters of the statistics of every channel of a value, per tile.
///
/// ```text
/// mean[n, t, c] = sum_{p in t} x[n, p, c] / |t|
/// M2[n, t, c]   = sum_{p in t} (x[n, p, c] - mean[n, t, c])^2
/// ```
///
/// A tile `t` is a run of `tile` consecutive pixels of one sample; the last one may be shorter.
/// Statistics per tile need no subtraction of large sums, and the kernel that computes the value can
/// gather them while it writes the value, as [`Conv`](super::Conv) does.
/// [`GroupAffine`](super::GroupAffine) merges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStats {
    /// The number of samples.
    pub batch: usize,
    /// The height of the source.
    pub height: usize,
    /// The width of the source.
    pub width: usize,
    /// The number of channels of the source.
    pub channels: usize,
    /// The number of pixels of a tile.
    pub tile: usize,
}

/// The buffers that the statistics read.
pub struct ChannelStatsReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl ChannelStats {
    /// Returns the number of tiles of one sample.
    pub fn tiles(&self) -> usize {
        (self.height * self.width).div_ceil(self.tile)
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ChannelStatsReads<'a> {
        ChannelStatsReads { source: reads.floats() }
    }
}

impl Parameters for ChannelStats {
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

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, ChannelStats { batch, ..self.clone() }.into()))
    }
}
