//! Dispatch of `avg_pool`.

use percept_shaders::Shader;

use super::{Dispatch, Halves, LANE_CHANNELS, THREADS, activation, params};
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

/// See [`AvgPool`].
pub(super) fn dispatch(p: &AvgPool, halves: Halves) -> Dispatch {
    let [kernel_h, kernel_w] = p.kernel;
    let [out_h, out_w] = p.out_size();
    let rows = match p.load {
        Load::Plain => RowSlice { row_length: 0, offset: 0 },
        Load::Affine { rows, .. } => rows,
    };
    // A large window's lanes take a channel each.
    let (wide, half) = (p.has_large_windows(), halves.source);
    let values = |channels: usize| if wide { channels } else { halves.values(channels) };
    let channels = values(p.channels);
    let params = Params {
        grid_width: 0,
        batch: p.batch as u32,
        height: p.height as u32,
        width: p.width as u32,
        channels: channels as u32,
        kernel_h: kernel_h as u32,
        kernel_w: kernel_w as u32,
        out_h: out_h as u32,
        out_w: out_w as u32,
        rows_length: values(rows.row_length) as u32,
        rows_offset: values(rows.offset) as u32,
    };
    let windows = p.batch * out_h * out_w;
    let workgroups = match wide {
        true => windows * channels.div_ceil(LANE_CHANNELS),
        false => (windows * channels).div_ceil(THREADS),
    };
    let shader = Shader::new("avg_pool").with("rows", p.load != Load::Plain).with("wide", wide);
    let shader = shader.with("half", half).with("fours", half && !wide).with("half_out", halves.result);
    let dispatch = Dispatch::new(shader, &params, workgroups).bind(&["source"]);
    match p.load {
        Load::Plain => dispatch.bind(&["output"]),
        Load::Affine { activation: kind, .. } => dispatch.bind(&["rows", "output"]).set("ACTIVATION", activation(kind)),
    }
}
