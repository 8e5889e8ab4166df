//! Dispatch of `group_affine`.

use percept_shaders::Shader;

use super::{Dispatch, Profile, params};
use crate::kernels::{GroupAffine, RowSlice};

params! { "group_affine":
    grid_width: u32,
    batch: u32,
    pixels: u32,
    tile: u32,
    tiles: u32,
    first: u32,
    second_channels: u32,
    groups: u32,
    film_length: u32,
    film_offset: u32,
    eps: f32,
}

/// Invocations of a workgroup where each merges a group alone.
const ALONE: usize = 32;

/// See [`GroupAffine`]. One workgroup merges a group of a sample; on a CPU that plays a GPU one invocation.
pub(super) fn dispatch(p: &GroupAffine, profile: &Profile) -> Dispatch {
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
    let groups = p.batch * p.groups;
    let workgroups = if profile.software { groups.div_ceil(ALONE) } else { groups };
    let shader = Shader::new("group_affine")
        .with("alone", profile.software)
        .with("second", second > 0)
        .with("film", p.film.is_some());
    let mut dispatch = Dispatch::new(shader, &params, workgroups).bind(&["stats"]);
    if second > 0 {
        dispatch = dispatch.bind(&["second"]);
    }
    dispatch = dispatch.bind(&["gamma", "beta"]);
    if p.film.is_some() {
        dispatch = dispatch.bind(&["film"]);
    }
    dispatch.bind(&["output"])
}
