//! Dispatch of `avg_pool`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::AvgPool as Params;

use super::shared::{Dispatch, LANE_CHANNELS, THREADS, Target, activation};
use crate::kernels::{AvgPool, Load, RowSlice};

/// Returns the dispatch of [`AvgPool`].
pub(super) fn dispatches(p: &AvgPool, target: Target<'_>) -> Vec<Dispatch> {
    let halves = target.halves;
    let [kernel_h, kernel_w] = p.kernel;
    let [out_h, out_w] = p.out_size();
    let rows = match p.load {
        Load::Plain => RowSlice { row_length: 0, offset: 0 },
        Load::Affine { rows, .. } => rows,
    };
    // For large windows, each lane processes one channel.
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
    Vec::from([match p.load {
        Load::Plain => dispatch.bind(&["output"]),
        Load::Affine { activation: kind, .. } => dispatch.bind(&["rows", "output"]).set("ACTIVATION", activation(kind)),
    }])
}
