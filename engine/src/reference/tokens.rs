//! Twin of `tokens`.

use crate::kernels::{Reads, Tokens, Writes};

/// Runs [`Tokens`].
pub(super) fn run(p: &Tokens, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let buffers = p.reads(reads);
    let (channels, patches) = (p.channels, p.height * p.width);
    for (row, output) in output.chunks_exact_mut(channels).enumerate() {
        let (n, t) = (row / p.tokens(), row % p.tokens());
        for (c, out) in output.iter_mut().enumerate() {
            let patch = |t: usize| buffers.patches[(n * patches + t - p.prefix) * channels + c];
            let sum = |token: f32, place: usize| {
                (f64::from(token) + f64::from(buffers.positions[place * channels + c])) as f32
            };
            *out = match (t < p.prefix, p.own_prefix) {
                (true, false) => buffers.prefix[t * channels + c],
                (true, true) => sum(buffers.prefix[(n * p.prefix + t) * channels + c], t),
                (false, false) => sum(patch(t), t - p.prefix),
                (false, true) => sum(patch(t), t),
            };
        }
    }
}
