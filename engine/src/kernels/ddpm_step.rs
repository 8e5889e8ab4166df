//! `ddpm_step`: one step of ancestral sampling (DDPM).

use alloc::vec::Vec;

use bytemuck::{Pod, Zeroable};

use super::advance::STATE_WORDS;
use super::{Binding, Kernel, Parameters, Reads};
use crate::{Error, Result};

/// The quantity that a network predicts from `x_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prediction {
    /// The noise in `x_t`.
    #[default]
    Epsilon,
    /// The image without noise, `x_0` (guided-diffusion's `predict_xstart`).
    Start,
}

impl Prediction {
    /// Computes `x_0` from `x_t` and the network's output:
    ///
    /// ```text
    /// x_0 = sqrt(1 / alpha_bar) x_t - sqrt(1 / alpha_bar - 1) output      Epsilon
    /// x_0 = output                                                        Start
    /// ```
    ///
    /// If `clip` is true, `x_0` is clipped to -1..1. NaN stays NaN, and an infinity becomes NaN: if it were
    /// clipped, it would become a white or black pixel that looks valid.
    pub fn x_0(self, sqrt_recip: f32, sqrt_recipm1: f32, clip: bool, x_t: f32, output: f32) -> f32 {
        let x_0 = match self {
            Prediction::Epsilon => sqrt_recip * x_t - sqrt_recipm1 * output,
            Prediction::Start => output,
        };
        match clip {
            true if x_0.is_infinite() => f32::NAN,
            true => x_0.clamp(-1.0, 1.0),
            false => x_0,
        }
    }
}

/// The coefficients that a step of [`DdpmStep`] reads: one row of its table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct DdpmCoefficients {
    /// Column 0: `sqrt(1 / alpha_bar)`
    pub sqrt_recip_alphas_cumprod: f32,
    /// Column 1: `sqrt(1 / alpha_bar - 1)`
    pub sqrt_recipm1_alphas_cumprod: f32,
    /// Column 2: the weight of `x_0` in the mean.
    pub posterior_mean_coef1: f32,
    /// Column 3: the weight of `x_t` in the mean.
    pub posterior_mean_coef2: f32,
    /// Column 4: the logarithm of the variance for which the network outputs -1.
    pub min_log_variance: f32,
    /// Column 5: the logarithm of the variance for which the network outputs 1; also used if the
    /// variance is not learned.
    pub max_log_variance: f32,
    /// Column 6: 1, or 0 at the last step, which adds no noise.
    pub noise_mask: f32,
}

/// Parameters of one step of ancestral sampling (DDPM, Ho et al. 2020,
/// <https://arxiv.org/abs/2006.11239>, algorithm 2, with the mean of equation 7; learned variance:
/// Nichol and Dhariwal 2021, <https://arxiv.org/abs/2102.09672>, equation 15).
///
/// ```text
/// x_0         = clip( sqrt_recip x_t - sqrt_recipm1 output[.., c] )       or clip( output[.., c] )
/// f           = (output[.., C + c] + 1) / 2                               or 1
/// log_var     = f max_log_variance + (1 - f) min_log_variance
/// x_prev      = coef1 x_0 + coef2 x_t + noise_mask exp(log_var / 2) noise
/// ```
///
/// The coefficients are row `state[0]` of the table. A step past the end of the table reads its last
/// row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdpmStep {
    /// The number of samples.
    pub batch: usize,
    /// The height of a sample.
    pub height: usize,
    /// The width of a sample.
    pub width: usize,
    /// The number of channels of a sample. With learned variance, the network's output has twice as many.
    pub channels: usize,
    /// The number of rows of the table.
    pub steps: usize,
    /// True if the second half of the output's channels determines the variance.
    pub learned_variance: bool,
    /// The quantity that the output (with learned variance, its first half) predicts.
    pub predict: Prediction,
    /// True if `x_0` is clipped to -1..1.
    pub clip: bool,
}

/// The buffers that a step of ancestral sampling reads.
pub struct DdpmStepReads<'a> {
    /// `[n, h, w, c]`
    pub x_t: &'a [f32],
    /// `[n, h, w, c]`, or `[n, h, w, 2 c]` with learned variance
    pub model_output: &'a [f32],
    /// `[n, h, w, c]`
    pub noise: &'a [f32],
    /// `[steps, COLUMNS]`: see [`DdpmCoefficients`]
    pub table: &'a [f32],
    /// `[4]`: see [`Advance`](super::Advance)
    pub state: &'a [u32],
}

impl DdpmStep {
    /// The number of columns of the table.
    pub const COLUMNS: usize = size_of::<DdpmCoefficients>() / size_of::<f32>();

    /// Returns the number of channels of the network's output.
    pub fn output_channels(&self) -> usize {
        self.channels * if self.learned_variance { 2 } else { 1 }
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> DdpmStepReads<'a> {
        DdpmStepReads {
            x_t: reads.floats(),
            model_output: reads.floats(),
            noise: reads.floats(),
            table: reads.floats(),
            state: reads.words(),
        }
    }
}

impl Parameters for DdpmStep {
    fn check(&self, layer: &str) -> Result<()> {
        check_sizes(layer, [self.batch, self.height, self.width, self.channels], self.steps)
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = [self.batch, self.height, self.width, self.channels];
        Vec::from([
            Binding::read("x_t", [n, h, w, c]),
            Binding::read("model_output", [n, h, w, self.output_channels()]),
            Binding::read("noise", [n, h, w, c]),
            Binding::read("table", [self.steps, Self::COLUMNS]),
            Binding::read_u32("state", [STATE_WORDS]),
            Binding::write("x_prev", [n, h, w, c]),
            Binding::write("x_0", [n, h, w, c]),
        ])
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, DdpmStep { batch, ..self.clone() }.into()))
    }
}

/// Checks that no size of a sampler's step is 0.
///
/// # Errors
/// Returns [`Error::Shape`] at `layer` if a size is 0.
pub(super) fn check_sizes(layer: &str, image: [usize; 4], steps: usize) -> Result<()> {
    if image.contains(&0) || steps == 0 {
        return Err(Error::shape(layer, "sizes of at least 1", alloc::format!("images of {image:?}, {steps} steps")));
    }
    Ok(())
}
