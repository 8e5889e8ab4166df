//! The kernels' CPU twins: the same parameters and buffers as the kernel, in plain loops with sums in
//! `f64`, obviously right. What every faster version of a kernel is compared with.

mod advance;
mod attention;
mod avg_pool;
mod channel_stats;
mod concat;
mod conv;
mod ddim_step;
mod ddpm_step;
mod dense;
mod embedding;
mod film_affine;
mod group_affine;
mod layer_norm;
mod max_pool;
pub mod noise;
mod not_finite;
mod resize_bilinear;
pub mod to_rgba8;
mod tokens;

use crate::kernels::{Kernel, Reads};

/// Runs one kernel on the host by its twin.
///
/// `reads` and `writes` are its buffers as 32-bit words, in binding order.
pub fn run(kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]) {
    match kernel {
        Kernel::Conv(p) => {
            let (first, rest) = writes.split_at_mut(1);
            let stats = rest.first_mut().map(|stats| bytemuck::cast_slice_mut(stats));
            conv::conv(p, reads, output(first), stats);
        }
        Kernel::Dense(p) => dense::dense(p, reads, output(writes)),
        Kernel::Attention(p) => attention::attention(p, reads, output(writes)),
        Kernel::AvgPool(p) => avg_pool::avg_pool(p, reads, output(writes)),
        Kernel::ChannelStats(p) => channel_stats::channel_stats(p, reads, output(writes)),
        Kernel::Concat(p) => concat::concat(p, reads, output(writes)),
        Kernel::FilmAffine(p) => film_affine::film_affine(p, reads, output(writes)),
        Kernel::GroupAffine(p) => group_affine::group_affine(p, reads, output(writes)),
        Kernel::LayerNorm(p) => layer_norm::layer_norm(p, reads, output(writes)),
        Kernel::MaxPool(p) => max_pool::max_pool(p, reads, output(writes)),
        Kernel::ResizeBilinear(p) => resize_bilinear::resize_bilinear(p, reads, output(writes)),
        Kernel::Tokens(p) => tokens::tokens(p, reads, output(writes)),
        Kernel::Advance(p) => advance::advance(p, reads, &mut *writes[0]),
        Kernel::DdimStep(p) => {
            let [x_prev, x_0] = outputs(writes);
            ddim_step::ddim_step(p, reads, x_prev, x_0);
        }
        Kernel::DdpmStep(p) => {
            let [x_prev, x_0] = outputs(writes);
            ddpm_step::ddpm_step(p, reads, x_prev, x_0);
        }
        Kernel::Embedding(p) => embedding::embedding(p, reads, output(writes)),
        Kernel::Noise(p) => noise::noise(p, reads, output(writes)),
        Kernel::NotFinite(p) => not_finite::not_finite(p, reads, &mut *writes[0]),
        Kernel::ToRgba8(p) => to_rgba8::to_rgba8(p, reads, &mut *writes[0]),
    }
}

/// The one buffer that a kernel writes, as `f32`.
fn output<'a>(writes: &'a mut [&mut [u32]]) -> &'a mut [f32] {
    bytemuck::cast_slice_mut(writes[0])
}

/// The two buffers that a sampler's step writes, as `f32`.
fn outputs<'a>(writes: &'a mut [&mut [u32]]) -> [&'a mut [f32]; 2] {
    let (first, second) = writes.split_at_mut(1);
    [output(first), output(second)]
}
