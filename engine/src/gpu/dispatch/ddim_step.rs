//! Dispatch of `ddim_step`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::{DdimStep, Prediction};

params! { "ddim_step":
    grid_width: u32,
    elements: u32,
    channels: u32,
    output_channels: u32,
    steps: u32,
}

/// See [`DdimStep`].
pub(super) fn dispatch(p: &DdimStep) -> Dispatch {
    let elements = p.batch * p.height * p.width * p.channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        channels: p.channels as u32,
        output_channels: p.output_channels() as u32,
        steps: p.steps as u32,
    };
    let shader = Shader::new("ddim_step").with("noise", p.noise);
    let mut dispatch = Dispatch::new(shader, &params, elements.div_ceil(THREADS)).bind(&["x_t", "model_output"]);
    if p.noise {
        dispatch = dispatch.bind(&["noise"]);
    }
    dispatch
        .bind(&["table", "state", "x_prev", "x_0"])
        .set("PREDICT_START", u32::from(p.predict == Prediction::Start))
        .set("CLIP", u32::from(p.clip))
}
