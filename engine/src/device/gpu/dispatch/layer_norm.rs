//! Dispatch of `layer_norm`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::LayerNorm as Params;

use super::shared::{Dispatch, Target};
use crate::kernels::LayerNorm;

/// Returns the dispatch of [`LayerNorm`]. A workgroup normalises one token.
pub(super) fn dispatches(p: &LayerNorm, target: Target<'_>) -> Vec<Dispatch> {
    let halves = target.halves;
    let rows = p.batch * p.count;
    let params = Params {
        grid_width: 0,
        rows: rows as u32,
        tokens: p.tokens as u32,
        first: p.first as u32,
        count: p.count as u32,
        channels: halves.values(p.channels) as u32,
        eps: p.eps,
    };
    let shader = Shader::new("layer_norm").with("half", halves.source).with("half_out", halves.result);
    Vec::from([Dispatch::new(shader, &params, rows).bind(&["source", "gamma", "beta", "output"])])
}
