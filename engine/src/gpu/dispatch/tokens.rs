//! Dispatch of `tokens`.

use percept_shaders::Shader;

use super::{Dispatch, Halves, THREADS, params};
use crate::kernels::Tokens;

params! { "tokens":
    grid_width: u32,
    elements: u32,
    tokens: u32,
    prefix_tokens: u32,
    channels: u32,
}

/// See [`Tokens`].
pub(super) fn dispatch(p: &Tokens, halves: Halves) -> Dispatch {
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
    Dispatch::new(shader, &params, elements.div_ceil(THREADS)).bind(&buffers)
}
