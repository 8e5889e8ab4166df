//! Dispatch of `group_affine`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::GroupAffine as Params;

use super::shared::{Dispatch, Target};
use crate::kernels::{GroupAffine, RowSlice};

/// Returns the dispatch of [`GroupAffine`]. A workgroup merges one group of one sample.
pub(super) fn dispatches(p: &GroupAffine, _: Target<'_>) -> Vec<Dispatch> {
    let [first, second] = p.channels;
    let film = p.film.unwrap_or(RowSlice { row_length: 0, offset: 0 });
    let params = Params {
        grid_width: 0,
        batch: p.batch as u32,
        pixels: p.pixels as u32,
        tile: p.tile as u32,
        tiles: p.tiles() as u32,
        first: first as u32,
        second_channels: second as u32,
        groups: p.groups as u32,
        film_length: film.row_length as u32,
        film_offset: film.offset as u32,
        eps: p.eps,
    };
    let shader = Shader::new("group_affine").with("second", second > 0).with("film", p.film.is_some());
    let mut dispatch = Dispatch::new(shader, &params, p.batch * p.groups).bind(&["stats"]);
    if second > 0 {
        dispatch = dispatch.bind(&["second"]);
    }
    dispatch = dispatch.bind(&["gamma", "beta"]);
    if p.film.is_some() {
        dispatch = dispatch.bind(&["film"]);
    }
    Vec::from([dispatch.bind(&["output"])])
}
