//! Twin of `layer_norm`.

use crate::kernels::{LayerNorm, Reads, Writes};

/// Runs [`LayerNorm`].
pub(super) fn run(p: &LayerNorm, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let buffers = p.reads(reads);
    let channels = p.channels;
    for (row, output) in output.chunks_exact_mut(channels).enumerate() {
        let token = &buffers.source[p.token(row) * channels..][..channels];
        let value = |c: usize| f64::from(token[c]);
        let mean = (0..channels).map(value).sum::<f64>() / channels as f64;
        let m2: f64 = (0..channels).map(|c| (value(c) - mean) * (value(c) - mean)).sum();
        let deviation = libm::sqrt(m2 / channels as f64 + f64::from(p.eps));
        for (c, out) in output.iter_mut().enumerate() {
            let gamma = f64::from(buffers.gamma[c]);
            *out = ((value(c) - mean) / deviation * gamma + f64::from(buffers.beta[c])) as f32;
        }
    }
}
