//! `ddim_step`: one step of implicit sampling, towards the image or away from it.

use alloc::vec::Vec;

use bytemuck::{Pod, Zeroable};

use super::advance::STATE_WORDS;
use super::ddpm_step::check_sizes;
use super::{Binding, Parameters, Prediction, Reads};
use crate::Result;

/// What a step of [`DdimStep`] reads of its table: one row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct DdimCoefficients {
    /// Column 0: `sqrt(1 / alpha_bar)`
    pub sqrt_recip_alphas_cumprod: f32,
    /// Column 1: `sqrt(1 / alpha_bar - 1)`
    pub sqrt_recipm1_alphas_cumprod: f32,
    /// Column 2: what `x_0` counts in the next image.
    pub x_0: f32,
    /// Column 3: what the noise found in `x_t` counts in the next image.
    pub epsilon: f32,
    /// Column 4: what new noise counts in the next image; 0 at the last step.
    pub sigma: f32,
}

/// The parameters of one step of implicit sampling (DDIM, Song et al. 2020,
/// <https://arxiv.org/abs/2010.02502>, equation 12)
///
/// ```text
/// x_0     = clip( sqrt_recip x_t - sqrt_recipm1 output[.., c] )       or clip( output[.., c] )
/// epsilon = (sqrt_recip x_t - x_0) / sqrt_recipm1
/// x_prev  = c_0 x_0 + c_epsilon epsilon + sigma noise
/// ```
///
/// with the coefficients of row `state[0]` of the table. A step past the table reads its last row.
/// The noise is found again from the clipped `x_0`. From image to noise only the table differs, and
/// `x_prev` is then the noisier image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdimStep {
    /// Samples.
    pub batch: usize,
    /// Height of a sample.
    pub height: usize,
    /// Width of a sample.
    pub width: usize,
    /// Channels of a sample; the network's output has twice as many with learned variance.
    pub channels: usize,
    /// Rows of the table.
    pub steps: usize,
    /// Whether the output has a second half of channels, which this sampler does not use.
    pub learned_variance: bool,
    /// What the first half, or the whole, predicts.
    pub predict: Prediction,
    /// Whether `x_0` is clipped to -1..1.
    pub clip: bool,
    /// Whether noise is added: eta above 0.
    pub noise: bool,
}

/// The buffers that a step of implicit sampling reads.
pub struct DdimStepReads<'a> {
    /// `[n, h, w, c]`
    pub x_t: &'a [f32],
    /// `[n, h, w, c]`, or `[n, h, w, 2 c]` with learned variance
    pub model_output: &'a [f32],
    /// `[n, h, w, c]`
    pub noise: Option<&'a [f32]>,
    /// `[steps, COLUMNS]`: see [`DdimCoefficients`]
    pub table: &'a [f32],
    /// `[4]`: see [`Advance`](super::Advance)
    pub state: &'a [u32],
}

impl DdimStep {
    /// Columns of the table.
    pub const COLUMNS: usize = size_of::<DdimCoefficients>() / size_of::<f32>();

    /// Channels of the network's output.
    pub fn output_channels(&self) -> usize {
        self.channels * if self.learned_variance { 2 } else { 1 }
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> DdimStepReads<'a> {
        DdimStepReads {
            x_t: reads.floats(),
            model_output: reads.floats(),
            noise: reads.floats_if(self.noise),
            table: reads.floats(),
            state: reads.words(),
        }
    }
}

impl Parameters for DdimStep {
    fn name(&self) -> &'static str {
        "ddim_step"
    }

    fn check(&self, layer: &str) -> Result<()> {
        check_sizes(layer, [self.batch, self.height, self.width, self.channels], self.steps)
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = [self.batch, self.height, self.width, self.channels];
        let mut bindings = Vec::from([
            Binding::read("x_t", [n, h, w, c]),
            Binding::read("model_output", [n, h, w, self.output_channels()]),
        ]);
        if self.noise {
            bindings.push(Binding::read("noise", [n, h, w, c]));
        }
        bindings.push(Binding::read("table", [self.steps, Self::COLUMNS]));
        bindings.push(Binding::read_u32("state", [STATE_WORDS]));
        bindings.push(Binding::write("x_prev", [n, h, w, c]));
        bindings.push(Binding::write("x_0", [n, h, w, c]));
        bindings
    }
}
