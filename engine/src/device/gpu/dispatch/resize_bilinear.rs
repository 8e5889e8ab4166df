//! Dispatch of `resize_bilinear`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::ResizeBilinear as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::ResizeBilinear;

/// Returns the dispatch of [`ResizeBilinear`].
pub(super) fn dispatches(p: &ResizeBilinear, _: Target<'_>) -> Vec<Dispatch> {
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
    Vec::from([
        Dispatch::new(Shader::new("resize_bilinear"), &params, elements.div_ceil(THREADS)).bind(&["source", "output"])
    ])
}
