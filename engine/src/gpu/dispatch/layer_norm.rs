//! Dispatch of `layer_norm`.

use percept_shaders::Shader;

use super::{Dispatch, Halves, Profile, params};
use crate::kernels::LayerNorm;

params! { "layer_norm":
    grid_width: u32,
    rows: u32,
    tokens: u32,
    first: u32,
    count: u32,
    channels: u32,
    eps: f32,
}

/// Invocations of a workgroup where each normalises a token alone.
const ALONE: usize = 32;

/// See [`LayerNorm`]. One workgroup normalises a token; on a CPU that plays a GPU one invocation.
pub(super) fn dispatch(p: &LayerNorm, halves: Halves, profile: &Profile) -> Dispatch {
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
    let workgroups = if profile.software { rows.div_ceil(ALONE) } else { rows };
    let shader = Shader::new("layer_norm").with("alone", profile.software);
    let shader = shader.with("half", halves.source).with("half_out", halves.result);
    Dispatch::new(shader, &params, workgroups).bind(&["source", "gamma", "beta", "output"])
}
