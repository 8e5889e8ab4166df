//! `group_affine`: a group norm, as a gain and a bias per (sample, channel).

use alloc::vec::Vec;

use super::{Binding, Kernel, Parameters, Reads, RowSlice};
use crate::{Error, Result};

/// Parameters of a group norm as a gain and a bias per (sample, channel) (Wu and He 2018,
/// <https://arxiv.org/abs/1803.08494>, eq. 2-7).
///
/// ```text
/// y = (x - mean[n, g]) / sqrt(var[n, g] + eps) * gamma[c] + beta[c]
///   = x * scale[n, c] + shift[n, c]
/// ```
///
/// Here `g` is the group of channel `c`, and `var` is biased. The norm is over one source, or over two
/// sources concatenated along the channels; a group may then span both. The statistics are those of
/// [`ChannelStats`](super::ChannelStats), merged by the formula of Chan, Golub and LeVeque (1979,
/// Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, eq. 2.1).
///
/// With FiLM (scale-shift norm; Perez et al. 2017, <https://arxiv.org/abs/1709.07871>) the result is
/// `y * (1 + s[n, c]) + t[n, c]`, folded into the same gains and biases.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAffine {
    /// The number of samples.
    pub batch: usize,
    /// The number of pixels of one sample.
    pub pixels: usize,
    /// The number of pixels of a tile of the statistics.
    pub tile: usize,
    /// The number of channels of the first and of the second source; the second is 0 if there is one source.
    pub channels: [usize; 2],
    /// The number of groups that the channels of all sources together are divided into.
    pub groups: usize,
    /// The constant that is added to the variance.
    pub eps: f32,
    /// The position of the `2 * channels` elements of FiLM, `s` of all channels, then `t`; `None` without FiLM.
    pub film: Option<RowSlice>,
}

/// The buffers that a group norm reads.
pub struct GroupAffineReads<'a> {
    /// `[n, tiles, 2, channels.0]`
    pub stats: &'a [f32],
    /// `[n, tiles, 2, channels.1]`
    pub second: Option<&'a [f32]>,
    /// `[channels]`
    pub gamma: &'a [f32],
    /// `[channels]`
    pub beta: &'a [f32],
    /// `[n, row_length]`
    pub film: Option<&'a [f32]>,
}

impl GroupAffine {
    /// Returns the number of channels of all sources together.
    pub fn all_channels(&self) -> usize {
        self.channels[0] + self.channels[1]
    }

    /// Returns the number of tiles of one sample.
    pub fn tiles(&self) -> usize {
        self.pixels.div_ceil(self.tile)
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> GroupAffineReads<'a> {
        GroupAffineReads {
            stats: reads.floats(),
            second: reads.floats_if(self.channels[1] > 0),
            gamma: reads.floats(),
            beta: reads.floats(),
            film: reads.floats_if(self.film.is_some()),
        }
    }
}

impl Parameters for GroupAffine {
    fn check(&self, layer: &str) -> Result<()> {
        let sizes = [self.batch, self.pixels, self.tile, self.channels[0], self.groups];
        if sizes.contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        if !self.all_channels().is_multiple_of(self.groups) {
            return Err(Error::shape(
                layer,
                alloc::format!("channels in {} equal groups", self.groups),
                alloc::format!("{} channels", self.all_channels()),
            ));
        }
        self.film.map_or(Ok(()), |film| film.check(layer, 2 * self.all_channels()))
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, tiles, channels] = [self.batch, self.tiles(), self.all_channels()];
        let [first, second] = self.channels;
        let mut bindings = Vec::from([Binding::read("stats", [n, tiles, 2, first])]);
        if second > 0 {
            bindings.push(Binding::read("second", [n, tiles, 2, second]));
        }
        bindings.push(Binding::read("gamma", [channels]));
        bindings.push(Binding::read("beta", [channels]));
        if let Some(film) = self.film {
            bindings.push(Binding::read("film", [n, film.row_length]));
        }
        bindings.push(Binding::write("output", [n, 2 * channels]));
        bindings
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, GroupAffine { batch, ..self.clone() }.into()))
    }
}
