//! The method of sampling: a sampler and the timesteps that it visits.

use alloc::string::{String, ToString};
use core::fmt;

use super::{Sampler, space_timesteps};

/// A sampler and the timesteps that it visits.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// The sampler.
    pub sampler: Sampler,
    /// The timesteps that it visits.
    pub steps: Steps,
    /// True if the predicted x_0 is clipped to [-1, 1] at each step.
    pub clip: bool,
}

/// The timesteps that a method visits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steps {
    /// A number of steps. DDIM visits every k-th timestep, as "ddimN" does, if some integer k gives the number.
    /// Otherwise, and with DDPM, the steps are spread evenly over all timesteps, including the first and the last.
    Count(usize),
    /// A value of guided-diffusion's flag `timestep_respacing`: see [`space_timesteps`]. "" visits all timesteps.
    Respacing(String),
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steps::Count(count) => count.fmt(f),
            Steps::Respacing(respacing) => respacing.fmt(f),
        }
    }
}

impl From<&str> for Steps {
    fn from(respacing: &str) -> Self {
        Steps::Respacing(respacing.to_string())
    }
}

impl From<String> for Steps {
    fn from(respacing: String) -> Self {
        Steps::Respacing(respacing)
    }
}

impl Method {
    /// Returns DDIM with the given number of steps and without noise.
    pub fn ddim(steps: usize) -> Self {
        Method { sampler: Sampler::Ddim { eta: 0.0 }, steps: Steps::Count(steps), clip: true }
    }

    /// Returns DDPM with the given number of steps.
    pub fn ddpm(steps: usize) -> Self {
        Method { sampler: Sampler::Ddpm, steps: Steps::Count(steps), clip: true }
    }

    /// Returns the steps of a process of `diffusion_steps` in the form of guided-diffusion's `timestep_respacing`.
    pub fn respacing(&self, diffusion_steps: usize) -> String {
        match &self.steps {
            Steps::Respacing(respacing) => respacing.clone(),
            Steps::Count(count) => {
                let strided = alloc::format!("ddim{count}");
                let is_strided = self.sampler != Sampler::Ddpm && space_timesteps(diffusion_steps, &strided).is_ok();
                if is_strided { strided } else { count.to_string() }
            }
        }
    }
}
