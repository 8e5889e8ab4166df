//! The UNet of guided-diffusion (Dhariwal and Nichol 2021, <https://arxiv.org/abs/2105.05233>) and of
//! RCDM (Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>).
//!
//! Values that depend only on the representation or the class are computed once, by
//! [`condition`](super::condition). One matrix product per step computes the timestep's rows of all
//! blocks.

use super::layers::ConvInputs;
use super::unet_blocks::Builder;
use super::unet_layout::layout;
use super::{Condition, UnetConfig};
use crate::kernels::{Activation, Conv};
use crate::program::{Graph, ValueId};
use crate::weights::Scope;
use crate::{Error, Result};

/// Adds the UNet for `x [n, h, w, 3]` and the sinusoidal embedding of the timestep,
/// `time [n, num_channels]`. Returns `[n, h, w, 3 or 6]`. For an upsampler, `condition` also holds the small image.
///
/// # Errors
/// Returns an error if the shapes or the condition do not match the configuration.
pub fn unet(
    g: &mut Graph,
    config: &UnetConfig,
    scope: &Scope<'_>,
    x: ValueId,
    time: ValueId,
    condition: &Condition,
) -> Result<ValueId> {
    let [_, height, width, _] = g.image_shape(x)?;
    if [height, width] != [config.image_size; 2] {
        let expected = alloc::format!("{0}x{0} pixels", config.image_size);
        return Err(Error::shape("x of a unet", expected, alloc::format!("{height}x{width}")));
    }

    let given = condition.low_res.is_some();
    if given != (config.small_size > 0) {
        let (expected, got) = if given { ("nothing of the kind", "one") } else { ("one", "none") };
        return Err(Error::config("low_res of a unet", expected, got));
    }

    let stages = layout(config)?;
    let mut builder = Builder::new(g, config, scope, &stages, time, condition)?;
    let h = builder.stages(&stages, x)?.last().copied().unwrap_or(x);
    let rows = builder.group_norm("out.0", h, None, None)?;
    let last = Conv {
        load: rows.load(Activation::Silu),
        bias: true,
        ..Conv::new(builder.g.image_shape(h)?, config.out_channels(), 3)
    };
    builder.conv(&scope.at("out.2"), last, ConvInputs { rows: Some(rows.value), ..ConvInputs::of(h) })
}
