//! Twin of `ddpm_step`.

use crate::kernels::ddpm_step::DdpmCoefficients;
use crate::kernels::{DdpmStep, Reads, Writes};

/// Runs [`DdpmStep`].
pub(super) fn run(p: &DdpmStep, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let x_prev = writes.floats();
    let x_0 = writes.floats();
    let buffers = p.reads(reads);
    let rows: &[DdpmCoefficients] = bytemuck::cast_slice(buffers.table);
    let row = rows[(buffers.state[0] as usize).min(p.steps - 1)];

    for i in 0..x_prev.len() {
        let (pixel, c) = (i / p.channels, i % p.channels);
        let output = &buffers.model_output[pixel * p.output_channels()..][..p.output_channels()];
        let x_t = buffers.x_t[i];

        x_0[i] = p.predict.x_0(row.sqrt_recip_alphas_cumprod, row.sqrt_recipm1_alphas_cumprod, p.clip, x_t, output[c]);
        let mean = row.posterior_mean_coef1 * x_0[i] + row.posterior_mean_coef2 * x_t;
        let log_variance = if p.learned_variance {
            let fraction = (output[p.channels + c] + 1.0) / 2.0;
            fraction * row.max_log_variance + (1.0 - fraction) * row.min_log_variance
        } else {
            row.max_log_variance
        };
        x_prev[i] = mean + row.noise_mask * libm::expf(0.5 * log_variance) * buffers.noise[i];
    }
}
