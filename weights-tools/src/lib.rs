//! Converts checkpoints of other projects to model files that percept runs.
//!
//! Nothing in a checkpoint is executed: the pickle reader understands tensors and plain values, and nothing else.
//!
//! [`Checkpoint::open`] reads a file of any supported format. [`recognise`] finds the models in it, using the
//! tables of [`layouts`]. [`hyperparameters`] derives their configurations. [`convert`](mod@convert) accounts for
//! every tensor and writes the model files.

pub mod bundle;
pub mod checkpoint;
pub mod convert;
mod folding;
pub mod hyperparameters;
pub mod inspect;
pub mod layouts;
mod model_file;
pub mod recognise;
pub mod report;
pub mod rounding;
mod text;
mod tree;
pub mod verify;
mod view;

pub use checkpoint::Checkpoint;
