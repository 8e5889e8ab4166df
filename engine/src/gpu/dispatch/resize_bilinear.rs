//! Dispatch of `resize_bilinear`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::ResizeBilinear;

params! { "resize_bilinear":
    grid_width: u32,
    elements: u32,
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
}

/// See [`ResizeBilinear`].
pub(super) fn dispatch(p: &ResizeBilinear) -> Dispatch {
    let elements = p.batch * p.out_height * p.out_width * p.channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        height: p.height as u32,
        width: p.width as u32,
        channels: p.channels as u32,
        out_height: p.out_height as u32,
        out_width: p.out_width as u32,
    };
    Dispatch::new(Shader::new("resize_bilinear"), &params, elements.div_ceil(THREADS)).bind(&["source", "output"])
}
