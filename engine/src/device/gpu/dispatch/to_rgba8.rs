//! Dispatch of `to_rgba8`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::ToRgba8 as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::ToRgba8;

/// Returns the dispatch of [`ToRgba8`]. Each invocation computes one pixel.
pub(super) fn dispatches(p: &ToRgba8, _: Target<'_>) -> Vec<Dispatch> {
    let elements = p.batch * p.height * p.pitch();
    let params = Params { grid_width: 0, elements: elements as u32, width: p.width as u32, pitch: p.pitch() as u32 };
    Vec::from([Dispatch::new(Shader::new("to_rgba8"), &params, elements.div_ceil(THREADS)).bind(&["source", "output"])])
}
