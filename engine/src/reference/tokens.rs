//! Twin of `tokens`.

use crate::kernels::{Reads, Tokens};

/// See [`Tokens`].
pub(super) fn tokens(p: &Tokens, reads: Reads<'_>, output: &mut [f32]) {
    let buffers = p.reads(reads);
    let (channels, patches) = (p.channels, p.height * p.width);
    for (row, output) in output.chunks_exact_mut(channels).enumerate() {
        let (n, t) = (row / p.tokens(), row % p.tokens());
        for (c, out) in output.iter_mut().enumerate() {
            *out = if t < p.prefix {
                buffers.prefix[t * channels + c]
            } else {
                let patch = t - p.prefix;
                let position = f64::from(buffers.positions[patch * channels + c]);
                (f64::from(buffers.patches[(n * patches + patch) * channels + c]) + position) as f32
            };
        }
    }
}
