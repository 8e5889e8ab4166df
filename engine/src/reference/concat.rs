//! Twin of `concat`.

use crate::kernels::{Concat, Reads};

/// See [`Concat`].
pub(super) fn concat(p: &Concat, reads: Reads<'_>, output: &mut [f32]) {
    let buffers = p.reads(reads);
    let [first, second] = p.channels;
    for (i, out) in output.iter_mut().enumerate() {
        let (pixel, c) = (i / (first + second), i % (first + second));
        *out = if c < first { buffers.source[pixel * first + c] } else { buffers.second[pixel * second + c - first] };
    }
}
