//! Dispatch of `to_rgba8`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::ToRgba8;

params! { "to_rgba8":
    grid_width: u32,
    elements: u32,
    width: u32,
    pitch: u32,
}

/// See [`ToRgba8`]. An invocation makes a pixel.
pub(super) fn dispatch(p: &ToRgba8) -> Dispatch {
    let elements = p.batch * p.height * p.pitch();
    let params = Params { grid_width: 0, elements: elements as u32, width: p.width as u32, pitch: p.pitch() as u32 };
    Dispatch::new(Shader::new("to_rgba8"), &params, elements.div_ceil(THREADS)).bind(&["source", "output"])
}
