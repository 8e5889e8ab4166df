//! Dispatch of `tokens`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Tokens as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::Tokens;

/// Returns the dispatch of [`Tokens`].
pub(super) fn dispatches(p: &Tokens, target: Target<'_>) -> Vec<Dispatch> {
    let halves = target.halves;
    let channels = halves.values(p.channels);
    let elements = p.batch * p.tokens() * channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        tokens: p.tokens() as u32,
        prefix_tokens: p.prefix as u32,
        channels: channels as u32,
    };
    let buffers = ["patches", "positions", "prefix", "output"];
    let shader = Shader::new("tokens").with("own_prefix", p.own_prefix).with("half", halves.source);
    Vec::from([Dispatch::new(shader, &params, elements.div_ceil(THREADS)).bind(&buffers)])
}
