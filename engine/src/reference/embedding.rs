//! Twin of `embedding`.

use crate::kernels::embedding::Index;
use crate::kernels::{Embedding, Reads};

/// See [`Embedding`].
pub(super) fn embedding(p: &Embedding, reads: Reads<'_>, output: &mut [f32]) {
    let buffers = p.reads(reads);
    for (i, out) in output.iter_mut().enumerate() {
        let (n, c) = (i / p.channels, i % p.channels);
        let index = match p.index {
            Index::PerSample => buffers.indices[n],
            Index::Step => buffers.indices[0],
        };
        let row = (index as usize).min(p.table_rows - 1);
        *out = buffers.table[row * p.channels + c];
    }
}
