//! Twin of `ddim_step`.

use crate::kernels::ddim_step::DdimCoefficients;
use crate::kernels::{DdimStep, Reads, Writes};

/// Runs [`DdimStep`].
pub(super) fn run(p: &DdimStep, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let x_prev = writes.floats();
    let x_0 = writes.floats();
    let buffers = p.reads(reads);
    let rows: &[DdimCoefficients] = bytemuck::cast_slice(buffers.table);
    let row = rows[(buffers.state[0] as usize).min(p.steps - 1)];

    for i in 0..x_prev.len() {
        let (pixel, c) = (i / p.channels, i % p.channels);
        let x_t = buffers.x_t[i];

        x_0[i] = p.predict.x_0(
            row.sqrt_recip_alphas_cumprod,
            row.sqrt_recipm1_alphas_cumprod,
            p.clip,
            x_t,
            buffers.model_output[pixel * p.output_channels() + c],
        );
        let epsilon = (row.sqrt_recip_alphas_cumprod * x_t - x_0[i]) / row.sqrt_recipm1_alphas_cumprod;
        x_prev[i] = x_0[i] * row.x_0 + row.epsilon * epsilon;
        if let Some(noise) = buffers.noise {
            x_prev[i] += row.sigma * noise[i];
        }
    }
}
