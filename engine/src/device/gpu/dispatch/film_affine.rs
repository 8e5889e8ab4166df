//! Dispatch of `film_affine`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::FilmAffine as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::FilmAffine;

/// Returns the dispatch of [`FilmAffine`].
pub(super) fn dispatches(p: &FilmAffine, _: Target<'_>) -> Vec<Dispatch> {
    let params = Params {
        grid_width: 0,
        batch: p.batch as u32,
        channels: p.channels as u32,
        rows_length: p.rows.row_length as u32,
        rows_offset: p.rows.offset as u32,
        film_length: p.film.row_length as u32,
        film_offset: p.film.offset as u32,
    };
    let workgroups = (p.batch * p.channels).div_ceil(THREADS);
    Vec::from([Dispatch::new(Shader::new("film_affine"), &params, workgroups).bind(&["rows", "film", "output"])])
}
