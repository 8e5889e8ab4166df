//! Dispatch of `noise`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Noise as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::Noise;

/// Returns the dispatch of [`Noise`]. Each invocation computes four elements.
pub(super) fn dispatches(p: &Noise, _: Target<'_>) -> Vec<Dispatch> {
    let sample = p.sample_elements();
    let params = Params { grid_width: 0, batch: p.batch as u32, sample: sample as u32 };
    let workgroups = (p.batch * sample.div_ceil(4)).div_ceil(THREADS);
    Vec::from([Dispatch::new(Shader::new("noise"), &params, workgroups)
        .bind(&["state", "output"])
        .set("STREAM", p.stream.number())])
}
