//! The upsampler of guided-diffusion (Dhariwal and Nichol 2021, <https://arxiv.org/abs/2105.05233>): a UNet that takes
//! the small image to enlarge in addition to the noisy image.
//!
//! The small image is the same for all steps. It is resized once, together with the rest of the condition, and the
//! first convolution reads both images side by side.

use super::{Condition, UnetConfig};
use crate::kernels::ResizeBilinear;
use crate::program::{Graph, ValueId};
use crate::{Error, Result};

impl Condition {
    /// Adds the small image of an upsampler, `low_res [n, small_size, small_size, 3]`, to the condition, enlarged to
    /// `[n, image_size, image_size, 3]`. guided-diffusion's `SuperResModel` does the same before its UNet:
    /// `cat([x, interpolate(low_res, (h, w), mode="bilinear")], dim=1)`.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if the configuration is not that of an upsampler, and [`Error::Shape`] if `low_res`
    /// does not have the small size.
    pub fn with_low_res(self, g: &mut Graph, config: &UnetConfig, low_res: ValueId) -> Result<Self> {
        let small = config.small_size;
        if small == 0 {
            return Err(Error::config("low_res of a unet", "nothing of the kind: it has no small_size", "one"));
        }
        let [batch, height, width, channels] = g.image_shape(low_res)?;
        if [height, width, channels] != [small, small, 3] {
            let expected = alloc::format!("{small}x{small} pixels of 3 channels");
            let got = alloc::format!("{height}x{width} of {channels}");
            return Err(Error::shape("low_res of an upsampler", expected, got));
        }
        let [out_height, out_width] = [config.image_size; 2];
        let resize = ResizeBilinear { batch, height, width, channels, out_height, out_width };
        Ok(Condition { low_res: Some(g.op1("low_res", resize, &[low_res])?), ..self })
    }
}
