//! From an image to what its representation knows: images in and out, encoders, sampling.

mod sampling;

#[cfg(feature = "std")]
mod batch;
#[cfg(feature = "std")]
mod bundle;
#[cfg(feature = "std")]
mod decoder;
#[cfg(feature = "std")]
mod device;
#[cfg(feature = "std")]
mod encoder;
#[cfg(feature = "std")]
mod float_rows;
#[cfg(feature = "std")]
pub mod grid;
#[cfg(feature = "std")]
pub mod image_file;
#[cfg(feature = "std")]
mod job;
#[cfg(feature = "std")]
mod mapped;
#[cfg(feature = "std")]
pub mod npz;
#[cfg(feature = "std")]
pub mod output;
#[cfg(feature = "std")]
mod pace;
#[cfg(feature = "std")]
pub mod preprocessing;
#[cfg(feature = "std")]
mod rcdm;
#[cfg(feature = "std")]
mod representations;
#[cfg(feature = "std")]
mod resample;
#[cfg(feature = "std")]
mod start;
#[cfg(feature = "std")]
mod state;
#[cfg(feature = "std")]
mod untrained;
#[cfg(feature = "std")]
mod upsampler;

#[cfg(feature = "std")]
pub use bundle::Bundle;
#[cfg(feature = "std")]
pub use decoder::SampleOptions;
#[cfg(feature = "std")]
pub use device::{Available, Device};
#[cfg(feature = "std")]
pub use encoder::Encoder;
#[cfg(feature = "std")]
pub use float_rows::FloatRows;
#[cfg(feature = "std")]
pub use job::{CancelToken, Job, Progress, Status};
#[cfg(feature = "std")]
pub use mapped::{MappedModel, open_model, sha256};
#[cfg(feature = "std")]
pub use preprocessing::Preprocessing;
#[cfg(feature = "std")]
pub use rcdm::Rcdm;
#[cfg(feature = "std")]
pub use representations::Representations;
pub use sampling::{Batch, Method, NoiseFrom, OnStep, Sampling, Step};
#[cfg(feature = "std")]
pub use start::Start;
#[cfg(feature = "std")]
pub use untrained::untrained;
#[cfg(feature = "std")]
pub use upsampler::Upsampler;
