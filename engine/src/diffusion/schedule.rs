//! The noise levels of the trained timesteps.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::space_timesteps;
use crate::{Error, Result};

/// The maximum number of steps of a diffusion process. Real models have 1,000 to 4,000. The limit keeps a
/// wrong number in a file from exhausting the memory.
pub const MAX_DIFFUSION_STEPS: usize = 1_000_000;

/// The growth of the variances beta of the diffusion process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NoiseSchedule {
    /// Betas that are evenly spaced from `0.1 / T` to `20 / T`, for T steps (Ho et al. 2020,
    /// <https://arxiv.org/abs/2006.11239>, section 4, for T = 1000).
    #[default]
    Linear,
    /// Betas that follow from `alpha_bar(t) = cos^2((t / T + 0.008) / 1.008 * pi / 2)`, limited to 0.999
    /// (Nichol and Dhariwal 2021, <https://arxiv.org/abs/2102.09672>, equation 17).
    Cosine,
}

impl NoiseSchedule {
    /// Returns the name of the schedule in guided-diffusion's `noise_schedule`.
    pub fn name(self) -> &'static str {
        match self {
            NoiseSchedule::Linear => "linear",
            NoiseSchedule::Cosine => "cosine",
        }
    }

    /// Returns the schedule called `name` in guided-diffusion's `noise_schedule`.
    ///
    /// # Errors
    /// Returns [`Error::Config`] on `noise_schedule` if there is no such schedule.
    pub fn from_name(name: &str) -> Result<Self> {
        [NoiseSchedule::Linear, NoiseSchedule::Cosine]
            .into_iter()
            .find(|schedule| schedule.name() == name)
            .ok_or_else(|| Error::config("noise_schedule", "\"linear\" or \"cosine\"", alloc::format!("{name:?}")))
    }

    /// Returns the variances of all `diffusion_steps` steps, before respacing.
    ///
    /// # Errors
    /// Returns [`Error::Config`] on `diffusion_steps` if it is 0 or more than [`MAX_DIFFUSION_STEPS`], or
    /// from 2 to 20 with a linear schedule, whose betas would reach 1.
    pub fn betas(self, diffusion_steps: usize) -> Result<Vec<f64>> {
        check_diffusion_steps(diffusion_steps)?;
        let steps = diffusion_steps as f64;
        let betas: Vec<f64> = match self {
            NoiseSchedule::Linear => {
                let scale = 1000.0 / steps;
                linspace(scale * 0.0001, scale * 0.02, diffusion_steps)
            }
            NoiseSchedule::Cosine => {
                let alpha_bar = |t: f64| {
                    let cosine = libm::cos((t + 0.008) / 1.008 * core::f64::consts::PI / 2.0);
                    cosine * cosine
                };
                (0..diffusion_steps)
                    .map(|i| (i as f64 / steps, (i + 1) as f64 / steps))
                    .map(|(from, to)| (1.0 - alpha_bar(to) / alpha_bar(from)).min(0.999))
                    .collect()
            }
        };
        // At a beta of 1, nothing is left of the image, and recovering it would divide by 0.
        if !betas.iter().all(|&beta| beta > 0.0 && beta < 1.0) {
            return Err(Error::config(
                "diffusion_steps",
                alloc::format!("at least 21 steps with the {self} schedule, for all betas to be below 1"),
                diffusion_steps,
            ));
        }
        Ok(betas)
    }
}

impl FromStr for NoiseSchedule {
    type Err = Error;

    /// Parses a name, as [`NoiseSchedule::from_name`] does.
    fn from_str(name: &str) -> Result<Self> {
        NoiseSchedule::from_name(name)
    }
}

impl fmt::Display for NoiseSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The tables of a diffusion process, in `f64`, with one element for each step that respacing keeps.
///
/// Index 0 is the least noisy step. Samplers begin at the last step, except DDIM reverse. The names are those
/// of guided-diffusion's `GaussianDiffusion`. Below, `alpha_bar` is [`alphas_cumprod`](Self::alphas_cumprod),
/// and equations are those of Ho et al. 2020, <https://arxiv.org/abs/2006.11239>.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Schedule {
    /// The number of steps of the process that the network was trained on, before respacing.
    pub diffusion_steps: usize,
    /// The timestep of the original process for each kept step, in ascending order.
    pub timestep_map: Vec<usize>,
    /// The variance `beta[t]` of the step from `x[t-1]` to `x[t]`.
    pub betas: Vec<f64>,
    /// `prod_{s <= t} (1 - beta[s])`, the share of the image in the variance of `x[t]`.
    pub alphas_cumprod: Vec<f64>,
    /// `alpha_bar[t-1]`, or 1 at the first step.
    pub alphas_cumprod_prev: Vec<f64>,
    /// `alpha_bar[t+1]`, or 0 at the last step.
    pub alphas_cumprod_next: Vec<f64>,
    /// `sqrt(1 / alpha_bar[t])`
    pub sqrt_recip_alphas_cumprod: Vec<f64>,
    /// `sqrt(1 / alpha_bar[t] - 1)`
    pub sqrt_recipm1_alphas_cumprod: Vec<f64>,
    /// The variance of `q(x[t-1] | x[t], x_0)`, equation 7. It is 0 at the first step.
    pub posterior_variance: Vec<f64>,
    /// The natural logarithm of the posterior variance. At the first step, where it would be infinite, it
    /// is that of the second step. In a process of one step, it is the logarithm of the step's beta.
    pub posterior_log_variance_clipped: Vec<f64>,
    /// The coefficient of `x_0` in the mean of `q(x[t-1] | x[t], x_0)`, equation 7.
    pub posterior_mean_coef1: Vec<f64>,
    /// The coefficient of `x[t]` in the mean of `q(x[t-1] | x[t], x_0)`, equation 7.
    pub posterior_mean_coef2: Vec<f64>,
}

impl Schedule {
    /// Computes the tables for the steps of `diffusion_steps` that `respacing` keeps. As in
    /// guided-diffusion's `SpacedDiffusion`, the new betas preserve the `alpha_bar` of each kept step.
    ///
    /// [`space_timesteps`] parses `respacing`; "" keeps all steps. A process of one step predicts `x_0` and
    /// adds no noise. guided-diffusion cannot build such a process, because it indexes past its tables.
    ///
    /// # Errors
    /// Returns the errors of [`NoiseSchedule::betas`] on `diffusion_steps`, and those of
    /// [`space_timesteps`] on `timestep_respacing`.
    pub fn new(kind: NoiseSchedule, diffusion_steps: usize, respacing: &str) -> Result<Self> {
        let original = cumulative_product(&kind.betas(diffusion_steps)?);
        let timestep_map = space_timesteps(diffusion_steps, respacing)?;
        let mut last = 1.0;
        let betas = timestep_map
            .iter()
            .map(|&timestep| {
                let beta = 1.0 - original[timestep] / last;
                last = original[timestep];
                beta
            })
            .collect();
        Ok(Schedule::of_betas(betas, timestep_map, diffusion_steps))
    }

    /// Returns the number of kept steps.
    pub fn steps(&self) -> usize {
        self.betas.len()
    }

    /// Returns the natural logarithm of the "fixed large" variance, for networks that do not learn the
    /// variance. It is `beta[t]`, except at the first step, where it is the posterior variance of the
    /// second step (for a better likelihood of the decoded image, according to guided-diffusion). In a
    /// process of one step, it is the step's beta.
    pub fn fixed_large_log_variance(&self) -> Vec<f64> {
        let mut variances = self.betas.clone();
        if let Some(&second) = self.posterior_variance.get(1) {
            variances[0] = second;
        }
        variances.into_iter().map(libm::log).collect()
    }

    /// Returns all tables with their names, for comparison with those of another program.
    pub fn tables(&self) -> [(&'static str, &[f64]); 10] {
        [
            ("betas", &self.betas),
            ("alphas_cumprod", &self.alphas_cumprod),
            ("alphas_cumprod_prev", &self.alphas_cumprod_prev),
            ("alphas_cumprod_next", &self.alphas_cumprod_next),
            ("sqrt_recip_alphas_cumprod", &self.sqrt_recip_alphas_cumprod),
            ("sqrt_recipm1_alphas_cumprod", &self.sqrt_recipm1_alphas_cumprod),
            ("posterior_variance", &self.posterior_variance),
            ("posterior_log_variance_clipped", &self.posterior_log_variance_clipped),
            ("posterior_mean_coef1", &self.posterior_mean_coef1),
            ("posterior_mean_coef2", &self.posterior_mean_coef2),
        ]
    }

    /// Computes the tables from the betas of at least one step.
    fn of_betas(betas: Vec<f64>, timestep_map: Vec<usize>, diffusion_steps: usize) -> Self {
        let steps = betas.len();
        let bar = cumulative_product(&betas);
        let bar_prev: Vec<f64> = core::iter::once(1.0).chain(bar.iter().copied()).take(steps).collect();
        let bar_next: Vec<f64> = bar[1..].iter().copied().chain([0.0]).collect();
        let each = |of: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..steps).map(of).collect() };

        let posterior_variance = each(&|t| betas[t] * (1.0 - bar_prev[t]) / (1.0 - bar[t]));
        let first = posterior_variance.get(1).copied().unwrap_or(betas[0]);
        Schedule {
            diffusion_steps,
            timestep_map,
            sqrt_recip_alphas_cumprod: each(&|t| libm::sqrt(1.0 / bar[t])),
            sqrt_recipm1_alphas_cumprod: each(&|t| libm::sqrt(1.0 / bar[t] - 1.0)),
            posterior_log_variance_clipped: each(&|t| libm::log(if t == 0 { first } else { posterior_variance[t] })),
            posterior_mean_coef1: each(&|t| betas[t] * libm::sqrt(bar_prev[t]) / (1.0 - bar[t])),
            posterior_mean_coef2: each(&|t| (1.0 - bar_prev[t]) * libm::sqrt(1.0 - betas[t]) / (1.0 - bar[t])),
            posterior_variance,
            alphas_cumprod_prev: bar_prev,
            alphas_cumprod_next: bar_next,
            alphas_cumprod: bar,
            betas,
        }
    }
}

/// Checks that the number of steps is from 1 to [`MAX_DIFFUSION_STEPS`].
pub(super) fn check_diffusion_steps(diffusion_steps: usize) -> Result<()> {
    if (1..=MAX_DIFFUSION_STEPS).contains(&diffusion_steps) {
        return Ok(());
    }
    Err(Error::config("diffusion_steps", alloc::format!("between 1 and {MAX_DIFFUSION_STEPS} steps"), diffusion_steps))
}

/// Returns `prod_{s <= t} (1 - beta[s])` for each t.
fn cumulative_product(betas: &[f64]) -> Vec<f64> {
    betas
        .iter()
        .scan(1.0, |product, &beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

/// Returns evenly spaced numbers, in numpy's arithmetic: the last is exactly `stop`, and a single number is `start`.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / (count - 1).max(1) as f64;
    (0..count).map(|i| if i > 0 && i + 1 == count { stop } else { i as f64 * step + start }).collect()
}
