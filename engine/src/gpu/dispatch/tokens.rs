//! Dispatch of `tokens`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::Tokens;

params! { "tokens":
    grid_width: u32,
    elements: u32,
    tokens: u32,
    prefix_tokens: u32,
    channels: u32,
}

/// See [`Tokens`].
pub(super) fn dispatch(p: &Tokens) -> Dispatch {
    let elements = p.batch * p.tokens() * p.channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        tokens: p.tokens() as u32,
        prefix_tokens: p.prefix as u32,
        channels: p.channels as u32,
    };
    let buffers = ["patches", "positions", "prefix", "output"];
    Dispatch::new(Shader::new("tokens").with("own_prefix", p.own_prefix), &params, elements.div_ceil(THREADS))
        .bind(&buffers)
}
