//! Diffusion: the noise schedule, its respacing, the samplers' tables, and the noise.
//!
//! Sampling starts from pure noise and runs a network that predicts the noise in an image once per step.
//! Everything that does not depend on the images is computed here, on the host, before the first step:
//! the [`Schedule`] in `f64`, a table of the [`Sampler`]'s coefficients for every step, and a table of
//! the timestep embeddings for every step. The kernels [`DdpmStep`](crate::kernels::DdpmStep),
//! [`DdimStep`](crate::kernels::DdimStep), [`Noise`](crate::kernels::Noise) and
//! [`Embedding`](crate::kernels::Embedding) use the index of the current step.
//!
//! All functions of real numbers come from `libm`, so that every system computes the same tables.
//!
//! ```
//! use percept::diffusion::{NoiseSchedule, Sampler, Schedule};
//!
//! # fn main() -> percept::Result<()> {
//! let schedule = Schedule::new(NoiseSchedule::Linear, 1000, "ddim25")?;
//! let sampler = Sampler::new("ddim", 0.0)?;
//! let timesteps = sampler.timesteps(&schedule, false);
//! assert_eq!(timesteps[..3], [960.0, 920.0, 880.0]);
//! # Ok(())
//! # }
//! ```

mod method;
pub mod noise;
pub mod respace;
pub mod sampler;
mod sampling_loop;
pub mod schedule;

pub use method::{Method, Steps};
pub use noise::Stream;
pub use respace::space_timesteps;
pub use sampler::{MAX_PERIOD, Sampler, timestep_embeddings};
pub use sampling_loop::{Batch, NoiseFrom, OnStep, SamplingLoop, Step};
pub use schedule::{MAX_DIFFUSION_STEPS, NoiseSchedule, Schedule};
