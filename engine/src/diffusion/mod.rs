//! Diffusion: the schedule of the noise, the steps taken of it, the samplers' tables, and the noise.
//!
//! A network that predicts the noise in an image is sampled step by step from pure noise. Everything
//! that can be known before the first step is made here, on the host: the [`Schedule`] in `f64`, the
//! [`Sampler`]'s coefficients of every step as one table, the timestep embeddings of every step as
//! another. The kernels [`DdpmStep`](crate::kernels::DdpmStep),
//! [`DdimStep`](crate::kernels::DdimStep), [`Noise`](crate::kernels::Noise) and
//! [`Embedding`](crate::kernels::Embedding) read the row of the step they are at.
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

pub mod noise;
pub mod respace;
pub mod sampler;
pub mod schedule;

pub use noise::Stream;
pub use respace::space_timesteps;
pub use sampler::{MAX_PERIOD, Sampler, timestep_embeddings};
pub use schedule::{MAX_DIFFUSION_STEPS, NoiseSchedule, Schedule};
