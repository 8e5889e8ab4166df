//! Dispatch of `ddpm_step`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::DdpmStep as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::{DdpmStep, Prediction};

/// Returns the dispatch of [`DdpmStep`].
pub(super) fn dispatches(p: &DdpmStep, _: Target<'_>) -> Vec<Dispatch> {
    let elements = p.batch * p.height * p.width * p.channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        channels: p.channels as u32,
        output_channels: p.output_channels() as u32,
        steps: p.steps as u32,
    };
    Vec::from([Dispatch::new(Shader::new("ddpm_step"), &params, elements.div_ceil(THREADS))
        .bind(&["x_t", "model_output", "noise", "table", "state", "x_prev", "x_0"])
        .set("PREDICT_START", u32::from(p.predict == Prediction::Start))
        .set("CLIP", u32::from(p.clip))
        .set("LEARNED_VARIANCE", u32::from(p.learned_variance))])
}
