//! `ddim_step`: one step of implicit sampling (DDIM), from noise to image or from image to noise.

use alloc::vec::Vec;

use bytemuck::{Pod, Zeroable};

use super::advance::STATE_WORDS;
use super::ddpm_step::check_sizes;
use super::{Binding, Kernel, Parameters, Prediction, Reads};
use crate::Result;

/// The coefficients that a step of [`DdimStep`] reads: one row of its table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct DdimCoefficients {
    /// Column 0: `sqrt(1 / alpha_bar)`
    pub sqrt_recip_alphas_cumprod: f32,
    /// Column 1: `sqrt(1 / alpha_bar - 1)`
    pub sqrt_recipm1_alphas_cumprod: f32,
    /// Column 2: the weight of `x_0` in the next image.
    pub x_0: f32,
    /// Column 3: the weight, in the next image, of the noise found in `x_t`.
    pub epsilon: f32,
    /// Column 4: the weight of new noise in the next image; 0 at the last step.
    pub sigma: f32,
}

/// Parameters of one step of implicit sampling (DDIM, Song et al. 2020,
/// <https://arxiv.org/abs/2010.02502>, equation 12).
///
/// ```text
/// x_0     = clip( sqrt_recip x_t - sqrt_recipm1 output[.., c] )       or clip( output[.., c] )
/// epsilon = (sqrt_recip x_t - x_0) / sqrt_recipm1
/// x_prev  = c_0 x_0 + c_epsilon epsilon + sigma noise
/// ```
///
/// The coefficients are row `state[0]` of the table. A step past the end of the table reads its last
/// row. `epsilon` is computed from the clipped `x_0`. From image to noise only the table differs, and
/// `x_prev` is then the noisier image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdimStep {
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
    /// True if the output has a second half of channels, which this sampler ignores.
    pub learned_variance: bool,
    /// The quantity that the output (with learned variance, its first half) predicts.
    pub predict: Prediction,
    /// True if `x_0` is clipped to -1..1.
    pub clip: bool,
    /// True if noise is added: eta is above 0.
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
    /// The number of columns of the table.
    pub const COLUMNS: usize = size_of::<DdimCoefficients>() / size_of::<f32>();

    /// Returns the number of channels of the network's output.
    pub fn output_channels(&self) -> usize {
        self.channels * if self.learned_variance { 2 } else { 1 }
    }

    /// Returns the buffers by name.
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

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, DdimStep { batch, ..self.clone() }.into()))
    }
}
