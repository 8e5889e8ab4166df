//! The samplers: which steps they take, in which order, and their coefficients.

use alloc::vec::Vec;

use super::Schedule;
use crate::kernels::ddim_step::DdimCoefficients;
use crate::kernels::ddpm_step::DdpmCoefficients;
use crate::{Error, Result};

/// The longest wavelength of a timestep embedding over 2 pi, in timesteps.
pub const MAX_PERIOD: f64 = 10_000.0;

/// How one gets from noise to an image, or back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampler {
    /// Ancestral sampling (Ho et al. 2020, <https://arxiv.org/abs/2006.11239>), by
    /// [`DdpmStep`](crate::kernels::DdpmStep).
    #[default]
    Ddpm,
    /// Implicit sampling (Song et al. 2020, <https://arxiv.org/abs/2010.02502>), by
    /// [`DdimStep`](crate::kernels::DdimStep).
    Ddim {
        /// How much noise a step adds, 0 to 1: none at 0, as much as ancestral sampling's posterior at 1.
        eta: f64,
    },
    /// From an image to the noise that [`Ddim`](Self::Ddim) without noise would make it of, by
    /// [`DdimStep`](crate::kernels::DdimStep).
    DdimReverse,
}

impl Sampler {
    /// The sampler of a name: `ddpm`, `ddim` or `ddim-reverse`, of which only `ddim` takes an `eta`
    /// other than 0.
    ///
    /// # Errors
    /// [`Error::Config`] on `sampler` where there is none of this name, and on `eta` where it is not
    /// from 0 to 1, or not 0 for a sampler that has none.
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

    /// Refuses an `eta` that is none.
    ///
    /// # Errors
    /// [`Error::Config`] on `eta` where it is not a number from 0 to 1.
    pub fn check(&self) -> Result<()> {
        match *self {
            Sampler::Ddim { eta } if !(0.0..=1.0).contains(&eta) => {
                Err(Error::config("eta", "a number from 0 to 1", eta))
            }
            _ => Ok(()),
        }
    }

    /// Whether its steps add noise.
    pub fn adds_noise(&self) -> bool {
        match *self {
            Sampler::Ddpm => true,
            Sampler::Ddim { eta } => eta != 0.0,
            Sampler::DdimReverse => false,
        }
    }

    /// The steps of the schedule in the order in which they are taken: from the noisiest down, in
    /// reverse from the least noisy up.
    pub fn order(&self, schedule: &Schedule) -> Vec<usize> {
        match self {
            Sampler::Ddpm | Sampler::Ddim { .. } => (0..schedule.steps()).rev().collect(),
            Sampler::DdimReverse => (0..schedule.steps()).collect(),
        }
    }

    /// What the network is told as the timestep at each step taken: the timestep of the process it
    /// was trained on; with `rescale_timesteps` as if that had 1000 steps.
    pub fn timesteps(&self, schedule: &Schedule, rescale_timesteps: bool) -> Vec<f32> {
        let scale = if rescale_timesteps { 1000.0 / schedule.diffusion_steps as f64 } else { 1.0 };
        self.order(schedule).into_iter().map(|t| schedule.timestep_map[t] as f32 * scale as f32).collect()
    }

    /// The coefficients of every step taken, row k those of the k-th:
    /// `[steps, DdpmStep::COLUMNS]` or `[steps, DdimStep::COLUMNS]`, row-major.
    ///
    /// `learned_variance` says whether the network predicts the variance between the posterior's and
    /// beta; without it [`Ddpm`](Self::Ddpm)'s is "fixed large". The others do not depend on it.
    ///
    /// # Errors
    /// As [`check`](Self::check).
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

/// The rows of ancestral sampling.
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

/// The rows of implicit sampling: equation 12, with equation 16's sigma.
fn ddim_rows(schedule: &Schedule, order: &[usize], eta: f64) -> Vec<DdimCoefficients> {
    let row = |&t: &usize| {
        let (bar, bar_prev) = (schedule.alphas_cumprod[t], schedule.alphas_cumprod_prev[t]);
        let sigma = eta * libm::sqrt((1.0 - bar_prev) / (1.0 - bar)) * libm::sqrt(1.0 - bar / bar_prev);
        // Never below 0 but for rounding.
        let direction = libm::sqrt((1.0 - bar_prev - sigma * sigma).max(0.0));
        ddim_row(schedule, t, [libm::sqrt(bar_prev), direction, if t == 0 { 0.0 } else { sigma }])
    };
    order.iter().map(row).collect()
}

/// The rows from image to noise: equation 12 without noise, to the next step in place of the previous.
fn ddim_reverse_rows(schedule: &Schedule, order: &[usize]) -> Vec<DdimCoefficients> {
    let row = |&t: &usize| {
        let bar_next = schedule.alphas_cumprod_next[t];
        ddim_row(schedule, t, [libm::sqrt(bar_next), libm::sqrt(1.0 - bar_next), 0.0])
    };
    order.iter().map(row).collect()
}

/// A row of implicit sampling from what `x_0`, epsilon and noise count.
fn ddim_row(schedule: &Schedule, t: usize, [x_0, epsilon, sigma]: [f64; 3]) -> DdimCoefficients {
    DdimCoefficients {
        sqrt_recip_alphas_cumprod: schedule.sqrt_recip_alphas_cumprod[t] as f32,
        sqrt_recipm1_alphas_cumprod: schedule.sqrt_recipm1_alphas_cumprod[t] as f32,
        x_0: x_0 as f32,
        epsilon: epsilon as f32,
        sigma: sigma as f32,
    }
}

/// Sinusoidal embeddings of timesteps, `[timesteps, channels]`, row-major
///
/// ```text
/// e[k, i]        = cos( t[k] max_period^(-i / half) )        i < half = channels / 2
/// e[k, half + i] = sin( t[k] max_period^(-i / half) )
/// ```
///
/// and a zero in the last channel where their number is odd. As PyTorch computes it, frequency and
/// product are rounded to `f32`; cosine and sine are taken in `f64`. `max_period` is [`MAX_PERIOD`]
/// for all known models.
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
