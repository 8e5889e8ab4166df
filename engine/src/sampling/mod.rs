//! Decoders that sample images from representations, upsamplers, and the jobs that run them.

mod bundle;
mod decoder;
mod job;
mod options;
mod pace;
mod rcdm;
mod start;
mod state;
mod upsampler;

pub use bundle::Bundle;
pub use job::{CancelToken, Job, Progress, Status};
pub use options::SampleOptions;
pub use rcdm::Rcdm;
pub use start::Start;
pub use upsampler::Upsampler;
