//! Dispatch of `max_pool`.

use percept_shaders::Shader;

use super::strips::{Strip, Windows};
use super::{Dispatch, Halves, THREADS, params};
use crate::kernels::MaxPool;

params! { "max_pool":
    grid_width: u32,
    elements: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding_top: i32,
    padding_left: i32,
    out_h: u32,
    out_w: u32,
}

/// See [`MaxPool`].
pub(super) fn dispatch(p: &MaxPool, halves: Halves) -> Dispatch {
    strip(p, halves, &Strip::all(p.out_size()[0], p.height))
}

/// Of some lines of each image.
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
