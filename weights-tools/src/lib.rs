//! From the checkpoints that people have to models that percept runs.
//!
//! Nothing in a checkpoint is ever run: a pickle is read by a machine that knows tensors and plain values, and nothing else.
//!
//! [`Checkpoint::open`] reads a file of any format; [`recognise`] finds the models in it by the tables of [`layouts`];
//! [`hyperparameters`] tells their configuration; [`convert`](mod@convert) accounts for every tensor and writes model files.

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
mod tree;
pub mod verify;
mod view;

pub use checkpoint::Checkpoint;
