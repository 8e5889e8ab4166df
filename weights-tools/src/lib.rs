//! Checkpoints as people have them: read, and shown.
//!
//! Nothing in a checkpoint is ever run: a pickle is read by a machine that knows tensors and plain values, and nothing else.

pub mod checkpoint;
pub mod inspect;
mod tree;

pub use checkpoint::Checkpoint;
