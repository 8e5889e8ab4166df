//! Twin of `concat`.

use crate::kernels::{Concat, Reads, Writes};

/// Runs [`Concat`].
pub(super) fn run(p: &Concat, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let buffers = p.reads(reads);
    let [first, second] = p.channels;
    for (i, out) in output.iter_mut().enumerate() {
        let (pixel, c) = (i / (first + second), i % (first + second));
        *out = if c < first { buffers.source[pixel * first + c] } else { buffers.second[pixel * second + c - first] };
    }
}
