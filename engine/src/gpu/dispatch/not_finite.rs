//! Dispatch of `not_finite`.

use percept_shaders::Shader;

use super::{Dispatch, params};
use crate::kernels::NotFinite;

params! { "not_finite":
    grid_width: u32,
    elements: u32,
}

/// See [`NotFinite`]. One workgroup tests a tile.
pub(super) fn dispatch(p: &NotFinite) -> Dispatch {
    let params = Params { grid_width: 0, elements: p.elements() as u32 };
    Dispatch::new(Shader::new("not_finite"), &params, p.tiles())
        .bind(&["source", "output"])
        .set("TILE", NotFinite::TILE as u32)
}
