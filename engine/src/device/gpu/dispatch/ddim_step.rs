//! Dispatch of `ddim_step`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::DdimStep as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::{DdimStep, Prediction};

/// Returns the dispatch of [`DdimStep`].
pub(super) fn dispatches(p: &DdimStep, _: Target<'_>) -> Vec<Dispatch> {
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
    Vec::from([dispatch
        .bind(&["table", "state", "x_prev", "x_0"])
        .set("PREDICT_START", u32::from(p.predict == Prediction::Start))
        .set("CLIP", u32::from(p.clip))])
}
