//! Dispatch of `not_finite`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::NotFinite as Params;

use super::shared::{Dispatch, Target};
use crate::kernels::NotFinite;

/// Returns the dispatch of [`NotFinite`]. Each workgroup tests one tile.
pub(super) fn dispatches(p: &NotFinite, _: Target<'_>) -> Vec<Dispatch> {
    let params = Params { grid_width: 0, elements: p.elements() as u32 };
    Vec::from([Dispatch::new(Shader::new("not_finite"), &params, p.tiles())
        .bind(&["source", "output"])
        .set("TILE", NotFinite::TILE as u32)])
}
