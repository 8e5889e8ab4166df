//! Dispatch of `noise`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::Noise;

params! { "noise":
    grid_width: u32,
    batch: u32,
    sample: u32,
}

/// See [`Noise`]. An invocation makes four elements.
pub(super) fn dispatch(p: &Noise) -> Dispatch {
    let sample = p.sample_elements();
    let params = Params { grid_width: 0, batch: p.batch as u32, sample: sample as u32 };
    let workgroups = (p.batch * sample.div_ceil(4)).div_ceil(THREADS);
    Dispatch::new(Shader::new("noise"), &params, workgroups).bind(&["state", "output"]).set("STREAM", p.stream.number())
}
