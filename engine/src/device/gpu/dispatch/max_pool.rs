//! Dispatch of `max_pool`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::MaxPool as Params;

use super::shared::{Dispatch, Halves, THREADS, Target};
use super::strip::{Strip, Windows};
use crate::kernels::MaxPool;

/// Returns the dispatch of [`MaxPool`].
pub(super) fn dispatches(p: &MaxPool, target: Target<'_>) -> Vec<Dispatch> {
    Vec::from([strip(p, target.halves, &Strip::all(p.out_size()[0], p.height))])
}

/// Returns the dispatch for a strip of each image.
pub(super) fn strip(p: &MaxPool, halves: Halves, strip: &Strip) -> Dispatch {
    let [_, out_w] = p.out_size();
    let out_h = strip.lines.len();
    let channels = halves.values(p.channels);
    let elements = p.batch * out_h * out_w * channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        height: strip.source.len() as u32,
        width: p.width as u32,
        channels: channels as u32,
        kernel_h: p.kernel[0] as u32,
        kernel_w: p.kernel[1] as u32,
        stride: p.stride as u32,
        padding_top: windows(p).padding_top(strip),
        padding_left: p.padding as i32,
        out_h: out_h as u32,
        out_w: out_w as u32,
    };
    let shader = Shader::new("max_pool").with("half", halves.source);
    Dispatch::new(shader, &params, elements.div_ceil(THREADS)).bind(&["source", "output"])
}

pub(super) fn windows(p: &MaxPool) -> Windows {
    Windows { size: p.kernel[0], stride: p.stride, padding: p.padding, upsample: 1 }
}
