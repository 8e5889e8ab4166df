//! Dispatch of `avg_pool`.

use percept_shaders::Shader;

use super::{Dispatch, LANE_CHANNELS, THREADS, activation, params};
use crate::kernels::{AvgPool, Load, RowSlice};

params! { "avg_pool":
    grid_width: u32,
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_h: u32,
    kernel_w: u32,
    out_h: u32,
    out_w: u32,
    rows_length: u32,
    rows_offset: u32,
}

/// Windows of more pixels than this, such as a picture's last ones, are each shared by many invocations.
const WIDE: usize = 64;

/// See [`AvgPool`].
pub(super) fn dispatch(p: &AvgPool) -> Dispatch {
    let [kernel_h, kernel_w] = p.kernel;
    let [out_h, out_w] = p.out_size();
    let rows = match p.load {
        Load::Plain => RowSlice { row_length: 0, offset: 0 },
        Load::Affine { rows, .. } => rows,
    };
    let params = Params {
        grid_width: 0,
        batch: p.batch as u32,
        height: p.height as u32,
        width: p.width as u32,
        channels: p.channels as u32,
        kernel_h: kernel_h as u32,
        kernel_w: kernel_w as u32,
        out_h: out_h as u32,
        out_w: out_w as u32,
        rows_length: rows.row_length as u32,
        rows_offset: rows.offset as u32,
    };
    let windows = p.batch * out_h * out_w;
    let wide = kernel_h * kernel_w > WIDE;
    let workgroups = match wide {
        true => windows * p.channels.div_ceil(LANE_CHANNELS),
        false => (windows * p.channels).div_ceil(THREADS),
    };
    let shader = Shader::new("avg_pool").with("rows", p.load != Load::Plain).with("wide", wide);
    let dispatch = Dispatch::new(shader, &params, workgroups).bind(&["source"]);
    match p.load {
        Load::Plain => dispatch.bind(&["output"]),
        Load::Affine { activation: kind, .. } => dispatch.bind(&["rows", "output"]).set("ACTIVATION", activation(kind)),
    }
}
