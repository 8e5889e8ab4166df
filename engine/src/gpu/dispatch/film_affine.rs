//! Dispatch of `film_affine`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::FilmAffine;

params! { "film_affine":
    grid_width: u32,
    batch: u32,
    channels: u32,
    rows_length: u32,
    rows_offset: u32,
    film_length: u32,
    film_offset: u32,
}

/// See [`FilmAffine`].
pub(super) fn dispatch(p: &FilmAffine) -> Dispatch {
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
    Dispatch::new(Shader::new("film_affine"), &params, workgroups).bind(&["rows", "film", "output"])
}
