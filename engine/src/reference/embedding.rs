//! Twin of `embedding`.

use crate::kernels::embedding::Index;
use crate::kernels::{Embedding, Reads, Writes};

/// Runs [`Embedding`].
pub(super) fn run(p: &Embedding, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
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
