//! `embedding`: a lookup of rows in a table.

use alloc::vec::Vec;

use super::advance::STATE_WORDS;
use super::{Binding, Kernel, Parameters, Reads};
use crate::{Error, Result};

/// The way a sample's row is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// Each sample has its own index, from a buffer `[batch]`: a class label.
    PerSample,
    /// All samples share the index of the current step, which is element 0 of the state (see
    /// [`Advance`](super::Advance)): a timestep embedding.
    Step,
}

/// Parameters of a lookup of rows in a table, one row per sample.
///
/// ```text
/// y[n, c] = table[min(indices[n], table_rows - 1), c]     PerSample
/// y[n, c] = table[min(state[0], table_rows - 1), c]       Step
/// ```
///
/// An index past the end of the table reads its last row, because a device cannot report an error.
/// The host checks labels beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// The number of rows of the table.
    pub table_rows: usize,
    /// The number of elements of a row.
    pub channels: usize,
    /// The number of samples.
    pub batch: usize,
    /// The way a sample's row is chosen.
    pub index: Index,
}

/// The buffers that a lookup reads.
pub struct EmbeddingReads<'a> {
    /// `[table_rows, channels]`
    pub table: &'a [f32],
    /// `[batch]`, or the state `[4]`
    pub indices: &'a [u32],
}

impl Embedding {
    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> EmbeddingReads<'a> {
        EmbeddingReads { table: reads.floats(), indices: reads.words() }
    }
}

impl Parameters for Embedding {
    fn check(&self, layer: &str) -> Result<()> {
        if [self.table_rows, self.channels, self.batch].contains(&0) {
            return Err(Error::shape(
                layer,
                "sizes of at least 1",
                alloc::format!("a table of {}x{}, {} samples", self.table_rows, self.channels, self.batch),
            ));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let indices = match self.index {
            Index::PerSample => Binding::read_u32("indices", [self.batch]),
            Index::Step => Binding::read_u32("indices", [STATE_WORDS]),
        };
        Vec::from([
            Binding::read("table", [self.table_rows, self.channels]),
            indices,
            Binding::write("output", [self.batch, self.channels]),
        ])
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, Embedding { batch, ..self.clone() }.into()))
    }
}
