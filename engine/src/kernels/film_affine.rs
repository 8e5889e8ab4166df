//! `film_affine`: FiLM folded into a gain and a bias per (sample, channel).

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads, RowSlice};
use crate::{Error, Result};

/// The parameters of FiLM on rows that are there already: a conditional batch norm's, which come out
/// of a matrix product
///
/// ```text
/// (x * scale + shift) * (1 + s) + t = x * (scale * (1 + s)) + (shift * (1 + s) + t)
/// ```
///
/// (Perez et al. 2017, <https://arxiv.org/abs/1709.07871>, eq. 2, with the gain kept as its
/// difference from 1.) Both parts hold `2 * channels` elements: the gains of all channels, then the
/// biases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilmAffine {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Where `scale` and `shift` lie.
    pub rows: RowSlice,
    /// Where `s` and `t` lie.
    pub film: RowSlice,
}

/// The buffers that FiLM reads.
pub struct FilmAffineReads<'a> {
    /// `[n, rows.row_length]`
    pub rows: &'a [f32],
    /// `[n, film.row_length]`
    pub film: &'a [f32],
}

impl FilmAffine {
    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> FilmAffineReads<'a> {
        FilmAffineReads { rows: reads.floats(), film: reads.floats() }
    }
}

impl Parameters for FilmAffine {
    fn name(&self) -> &'static str {
        "film_affine"
    }

    fn check(&self, layer: &str) -> Result<()> {
        if [self.batch, self.channels].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        self.rows.check(layer, 2 * self.channels)?;
        self.film.check(layer, 2 * self.channels)
    }

    fn bindings(&self) -> Vec<Binding> {
        Vec::from([
            Binding::read("rows", [self.batch, self.rows.row_length]),
            Binding::read("film", [self.batch, self.film.row_length]),
            Binding::write("output", [self.batch, 2 * self.channels]),
        ])
    }
}
