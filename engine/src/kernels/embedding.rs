//! `embedding`: rows of a table.

use alloc::vec::Vec;

use super::advance::STATE_WORDS;
use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// Which row a sample gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// One of its own, from a buffer `[batch]`: a class label.
    PerSample,
    /// All samples that of the step to be taken, element 0 of the state (see
    /// [`Advance`](super::Advance)): a timestep embedding.
    Step,
}

/// The parameters of a look-up
///
/// ```text
/// y[n, c] = table[min(indices[n], table_rows - 1), c]     PerSample
/// y[n, c] = table[min(state[0], table_rows - 1), c]       Step
/// ```
///
/// An index past the table reads its last row, for no device has a way to say that it is wrong: the
/// host checks labels before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Rows of the table.
    pub table_rows: usize,
    /// Elements of a row.
    pub channels: usize,
    /// Samples.
    pub batch: usize,
    /// Which row a sample gets.
    pub index: Index,
}

/// The buffers that a look-up reads.
pub struct EmbeddingReads<'a> {
    /// `[table_rows, channels]`
    pub table: &'a [f32],
    /// `[batch]`, or the state `[4]`
    pub indices: &'a [u32],
}

impl Embedding {
    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> EmbeddingReads<'a> {
        EmbeddingReads { table: reads.floats(), indices: reads.words() }
    }
}

impl Parameters for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

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
}
