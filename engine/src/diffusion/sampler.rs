//! The samplers: the order of their steps, and their coefficients.

use alloc::vec::Vec;

use super::Schedule;
use crate::kernels::ddim_step::DdimCoefficients;
use crate::kernels::ddpm_step::DdpmCoefficients;
use crate::{Error, Result};

/// The longest wavelength of a timestep embedding, divided by 2 pi, in timesteps.
pub const MAX_PERIOD: f64 = 10_000.0;

/// An algorithm that steps from noise to an image, or from an image to noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampler {
    /// Ancestral sampling (Ho et al. 2020, <https://arxiv.org/abs/2006.11239>), with the kernel
    /// [`DdpmStep`](crate::kernels::DdpmStep).
    #[default]
    Ddpm,
    /// Implicit sampling (Song et al. 2020, <https://arxiv.org/abs/2010.02502>), with the kernel
    /// [`DdimStep`](crate::kernels::DdimStep).
    Ddim {
        /// The amount of noise that a step adds, from 0 (no noise) to 1 (as much as the posterior of
        /// ancestral sampling).
        eta: f64,
    },
    /// DDIM in reverse: from an image to the noise from which [`Ddim`](Self::Ddim) without noise makes
    /// that image, with the kernel [`DdimStep`](crate::kernels::DdimStep).
    DdimReverse,
}

impl Sampler {
    /// Returns the sampler called `name`: `ddpm`, `ddim` or `ddim-reverse`. Only `ddim` takes an `eta`
    /// other than 0.
    ///
    /// # Errors
    /// Returns [`Error::Config`] on `sampler` if there is no such sampler, and on `eta` if it is not from
    /// 0 to 1, or if it is not 0 for a sampler that has no `eta`.
    pub fn new(name: &str, eta: f64) -> Result<Self> {
        let sampler = match name {
            "ddpm" => Sampler::Ddpm,
            "ddim" => Sampler::Ddim { eta },
            "ddim-reverse" => Sampler::DdimReverse,
            _ => {
                return Err(Error::config(
                    "sampler",
                    "\"ddpm\", \"ddim\" or \"ddim-reverse\"",
                    alloc::format!("{name:?}"),
                ));
            }
        };
        if !matches!(sampler, Sampler::Ddim { .. }) && eta != 0.0 {
            return Err(Error::config("eta", alloc::format!("0 with {name}: only ddim takes one, from 0 to 1"), eta));
        }
        sampler.check()?;
        Ok(sampler)
    }

    /// Checks that `eta` is valid.
    ///
    /// # Errors
    /// Returns [`Error::Config`] on `eta` if it is not a number from 0 to 1.
    pub fn check(&self) -> Result<()> {
        match *self {
            Sampler::Ddim { eta } if !(0.0..=1.0).contains(&eta) => {
                Err(Error::config("eta", "a number from 0 to 1", eta))
            }
            _ => Ok(()),
        }
    }

    /// Returns true if the sampler's steps add noise.
    pub fn adds_noise(&self) -> bool {
        match *self {
            Sampler::Ddpm => true,
            Sampler::Ddim { eta } => eta != 0.0,
            Sampler::DdimReverse => false,
        }
    }

    /// Returns the steps of the schedule in the order in which the sampler takes them: from the noisiest
    /// to the least noisy, or the opposite for [`DdimReverse`](Self::DdimReverse).
    pub fn order(&self, schedule: &Schedule) -> Vec<usize> {
        match self {
            Sampler::Ddpm | Sampler::Ddim { .. } => (0..schedule.steps()).rev().collect(),
            Sampler::DdimReverse => (0..schedule.steps()).collect(),
        }
    }

    /// Returns the timestep that the network takes at each step, in the order of the steps. It is a
    /// timestep of the process that the network was trained on, and with `rescale_timesteps` it is scaled
    /// as if that process had 1000 steps.
    pub fn timesteps(&self, schedule: &Schedule, rescale_timesteps: bool) -> Vec<f32> {
        let scale = if rescale_timesteps { 1000.0 / schedule.diffusion_steps as f64 } else { 1.0 };
        self.order(schedule).into_iter().map(|t| schedule.timestep_map[t] as f32 * scale as f32).collect()
    }

    /// Returns the coefficients of all steps as a row-major table, `[steps, DdpmStep::COLUMNS]` or
    /// `[steps, DdimStep::COLUMNS]`. Row k holds the coefficients of the k-th step that is taken.
    ///
    /// `learned_variance` is true if the network predicts a variance between the posterior variance and
    /// beta. If it is false, [`Ddpm`](Self::Ddpm) uses the "fixed large" variance. The other samplers do
    /// not depend on it.
    ///
    /// # Errors
    /// Returns the errors of [`check`](Self::check).
    pub fn table(&self, schedule: &Schedule, learned_variance: bool) -> Result<Vec<f32>> {
        self.check()?;
        let order = self.order(schedule);
        Ok(match *self {
            Sampler::Ddpm => bytemuck::cast_slice(&ddpm_rows(schedule, &order, learned_variance)).to_vec(),
            Sampler::Ddim { eta } => bytemuck::cast_slice(&ddim_rows(schedule, &order, eta)).to_vec(),
            Sampler::DdimReverse => bytemuck::cast_slice(&ddim_reverse_rows(schedule, &order)).to_vec(),
        })
    }
}

/// Returns the rows of ancestral sampling.
fn ddpm_rows(schedule: &Schedule, order: &[usize], learned_variance: bool) -> Vec<DdpmCoefficients> {
    let fixed = schedule.fixed_large_log_variance();
    let row = |&t: &usize| {
        let [min_log_variance, max_log_variance] = if learned_variance {
            [schedule.posterior_log_variance_clipped[t], libm::log(schedule.betas[t])]
        } else {
            [fixed[t]; 2]
        };
        DdpmCoefficients {
            sqrt_recip_alphas_cumprod: schedule.sqrt_recip_alphas_cumprod[t] as f32,
            sqrt_recipm1_alphas_cumprod: schedule.sqrt_recipm1_alphas_cumprod[t] as f32,
            posterior_mean_coef1: schedule.posterior_mean_coef1[t] as f32,
            posterior_mean_coef2: schedule.posterior_mean_coef2[t] as f32,
            min_log_variance: min_log_variance as f32,
            max_log_variance: max_log_variance as f32,
            noise_mask: if t == 0 { 0.0 } else { 1.0 },
        }
    };
    order.iter().map(row).collect()
}

/// Returns the rows of implicit sampling: equation 12, with the sigma of equation 16.
fn ddim_rows(schedule: &Schedule, order: &[usize], eta: f64) -> Vec<DdimCoefficients> {
    let row = |&t: &usize| {
        let (bar, bar_prev) = (schedule.alphas_cumprod[t], schedule.alphas_cumprod_prev[t]);
        let sigma = eta * libm::sqrt((1.0 - bar_prev) / (1.0 - bar)) * libm::sqrt(1.0 - bar / bar_prev);
        // Only rounding can make this negative.
        let direction = libm::sqrt((1.0 - bar_prev - sigma * sigma).max(0.0));
        ddim_row(schedule, t, [libm::sqrt(bar_prev), direction, if t == 0 { 0.0 } else { sigma }])
    };
    order.iter().map(row).collect()
}

/// Returns the rows from image to noise: equation 12 without noise, to the next step instead of the previous.
fn ddim_reverse_rows(schedule: &Schedule, order: &[usize]) -> Vec<DdimCoefficients> {
    let row = |&t: &usize| {
        let bar_next = schedule.alphas_cumprod_next[t];
        ddim_row(schedule, t, [libm::sqrt(bar_next), libm::sqrt(1.0 - bar_next), 0.0])
    };
    order.iter().map(row).collect()
}

/// Returns a row of implicit sampling from the coefficients of `x_0`, epsilon and noise.
fn ddim_row(schedule: &Schedule, t: usize, [x_0, epsilon, sigma]: [f64; 3]) -> DdimCoefficients {
    DdimCoefficients {
        sqrt_recip_alphas_cumprod: schedule.sqrt_recip_alphas_cumprod[t] as f32,
        sqrt_recipm1_alphas_cumprod: schedule.sqrt_recipm1_alphas_cumprod[t] as f32,
        x_0: x_0 as f32,
        epsilon: epsilon as f32,
        sigma: sigma as f32,
    }
}

/// Returns sinusoidal embeddings of timesteps, `[timesteps, channels]`, in row-major order:
///
/// ```text
/// e[k, i]        = cos( t[k] max_period^(-i / half) )        i < half = channels / 2
/// e[k, half + i] = sin( t[k] max_period^(-i / half) )
/// ```
///
/// The last channel is zero if the number of channels is odd. As in PyTorch, the frequency and the product
/// are rounded to `f32`. Cosine and sine are computed in `f64`. `max_period` is [`MAX_PERIOD`] for all known
/// models.
pub fn timestep_embeddings(timesteps: &[f32], channels: usize, max_period: f64) -> Vec<f32> {
    let half = channels / 2;
    let decay = -libm::log(max_period) as f32;
    let frequencies: Vec<f32> =
        (0..half).map(|i| libm::exp(f64::from(decay * i as f32 / half as f32)) as f32).collect();
    let mut embeddings = Vec::with_capacity(timesteps.len() * channels);
    for &timestep in timesteps {
        let angles = || frequencies.iter().map(|&frequency| f64::from(timestep * frequency));
        embeddings.extend(angles().map(|angle| libm::cos(angle) as f32));
        embeddings.extend(angles().map(|angle| libm::sin(angle) as f32));
        embeddings.extend((half * 2 < channels).then_some(0.0));
    }
    embeddings
}
