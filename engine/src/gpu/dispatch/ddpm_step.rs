//! Dispatch of `ddpm_step`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::{DdpmStep, Prediction};

params! { "ddpm_step":
    grid_width: u32,
    elements: u32,
    channels: u32,
    output_channels: u32,
    steps: u32,
}

/// See [`DdpmStep`].
pub(super) fn dispatch(p: &DdpmStep) -> Dispatch {
    let elements = p.batch * p.height * p.width * p.channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        channels: p.channels as u32,
        output_channels: p.output_channels() as u32,
        steps: p.steps as u32,
    };
    Dispatch::new(Shader::new("ddpm_step"), &params, elements.div_ceil(THREADS))
        .bind(&["x_t", "model_output", "noise", "table", "state", "x_prev", "x_0"])
        .set("PREDICT_START", u32::from(p.predict == Prediction::Start))
        .set("CLIP", u32::from(p.clip))
        .set("LEARNED_VARIANCE", u32::from(p.learned_variance))
}
