//! Dispatch of `concat`.

use percept_shaders::Shader;

use super::{Dispatch, Halves, THREADS, params};
use crate::kernels::Concat;

params! { "concat":
    grid_width: u32,
    elements: u32,
    first: u32,
    second: u32,
}

/// See [`Concat`].
pub(super) fn dispatch(p: &Concat, halves: Halves) -> Dispatch {
    let [first, second] = p.channels.map(|channels| halves.values(channels));
    let elements = p.batch * p.height * p.width * (first + second);
    let params = Params { grid_width: 0, elements: elements as u32, first: first as u32, second: second as u32 };
    let shader = Shader::new("concat").with("half", halves.source);
    Dispatch::new(shader, &params, elements.div_ceil(THREADS)).bind(&["source", "second", "output"])
}
