//! `film_affine`: FiLM, folded into a gain and a bias per (sample, channel).

use alloc::vec::Vec;

use super::{Binding, Kernel, Parameters, Reads, RowSlice};
use crate::{Error, Result};

/// Parameters of FiLM applied to existing gains and biases, such as those of a conditional batch norm,
/// which a matrix product computes.
///
/// ```text
/// (x * scale + shift) * (1 + s) + t = x * (scale * (1 + s)) + (shift * (1 + s) + t)
/// ```
///
/// See Perez et al. 2017, <https://arxiv.org/abs/1709.07871>, eq. 2; here `s` is the gain's difference
/// from 1. `rows` and `film` each hold `2 * channels` elements: the gains of all channels, then the
/// biases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilmAffine {
    /// The number of samples.
    pub batch: usize,
    /// The number of channels.
    pub channels: usize,
    /// The position of `scale` and `shift`.
    pub rows: RowSlice,
    /// The position of `s` and `t`.
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
    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> FilmAffineReads<'a> {
        FilmAffineReads { rows: reads.floats(), film: reads.floats() }
    }
}

impl Parameters for FilmAffine {
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

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, FilmAffine { batch, ..self.clone() }.into()))
    }
}
