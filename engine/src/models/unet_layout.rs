//! The layers of guided-diffusion's UNet as plain data, with their sizes and names.

use alloc::string::String;
use alloc::vec::Vec;

use super::UnetConfig;
use crate::{Error, Result};

/// The change of the resolution in a residual block or convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// Keeps the resolution.
    Keep,
    /// Halves the resolution. A residual block takes the mean of 2x2 pixels.
    Down,
    /// Doubles the resolution, by nearest neighbour.
    Up,
}

/// A layer of a UNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A 3x3 convolution: the first layer, or one that changes the resolution.
    Conv {
        /// The name.
        name: String,
        /// The number of channels of the result.
        out_channels: usize,
        /// The change of the resolution: by stride when halving, by enlargement of the source when doubling.
        resample: Resample,
    },
    /// A residual block.
    Residual {
        /// The name.
        name: String,
        /// The number of channels of the previous layer's result, and of the skip connection's value or 0.
        in_channels: [usize; 2],
        /// The number of channels of the result.
        out_channels: usize,
        /// The change of the resolution.
        resample: Resample,
    },
    /// Self-attention.
    Attention {
        /// The name.
        name: String,
        /// The number of heads.
        heads: usize,
    },
}

/// A sequence of layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The layers.
    pub layers: Vec<Layer>,
    /// True if the result is kept for a skip connection to the upsampling half. The stages of the upsampling half are
    /// those whose first layer has two sources. They take the kept results in reverse order.
    pub keeps: bool,
}

/// Returns all stages: `input_blocks`, `middle_block`, `output_blocks`.
///
/// # Errors
/// Returns [`Error::Config`] if the flags are invalid.
pub fn layout(config: &UnetConfig) -> Result<Vec<Stage>> {
    let channels = config.channels()?;
    let attention = config.attention_divisors()?;
    let heads_up = if config.num_heads_upsample == -1 { config.num_heads } else { config.num_heads_upsample as usize };
    let attend = |name: String, channels: usize, heads: usize| -> Result<Layer> {
        let (flag, heads, rest) = match usize::try_from(config.num_head_channels) {
            Ok(per_head) => ("num_head_channels", channels / per_head, channels % per_head),
            Err(_) => ("num_heads", heads, channels % heads),
        };
        if heads == 0 || rest != 0 {
            return Err(Error::config(
                flag,
                alloc::format!("a divisor of {channels} channels"),
                alloc::format!("not one, at {name}"),
            ));
        }
        Ok(Layer::Attention { name, heads })
    };
    // Either a residual block or a convolution changes the resolution. The names are guided-diffusion's.
    let resampler = |name: String, channels: usize, resample: Resample| {
        if config.resblock_updown {
            Layer::Residual { name, in_channels: [channels, 0], out_channels: channels, resample }
        } else {
            let leaf = if resample == Resample::Down { "op" } else { "conv" };
            Layer::Conv { name: alloc::format!("{name}.{leaf}"), out_channels: channels, resample }
        }
    };
    let residual = |name: String, in_channels: [usize; 2], out_channels: usize| Layer::Residual {
        name,
        in_channels,
        out_channels,
        resample: Resample::Keep,
    };

    let first = Layer::Conv { name: "input_blocks.0.0".into(), out_channels: channels[0], resample: Resample::Keep };
    let mut stages = Vec::from([Stage { layers: Vec::from([first]), keeps: true }]);
    let mut kept = Vec::from([channels[0]]);
    let mut current = channels[0];
    for (level, &out) in channels.iter().enumerate() {
        for _ in 0..config.num_res_blocks {
            let name = alloc::format!("input_blocks.{}", stages.len());
            let mut layers = Vec::from([residual(alloc::format!("{name}.0"), [current, 0], out)]);
            current = out;
            if attention.contains(&(1 << level)) {
                layers.push(attend(alloc::format!("{name}.1"), current, config.num_heads)?);
            }
            stages.push(Stage { layers, keeps: true });
            kept.push(current);
        }
        if level + 1 < channels.len() {
            let name = alloc::format!("input_blocks.{}.0", stages.len());
            stages.push(Stage { layers: Vec::from([resampler(name, current, Resample::Down)]), keeps: true });
            kept.push(current);
        }
    }

    let middle = Vec::from([
        residual("middle_block.0".into(), [current, 0], current),
        attend("middle_block.1".into(), current, config.num_heads)?,
        residual("middle_block.2".into(), [current, 0], current),
    ]);
    stages.push(Stage { layers: middle, keeps: false });

    let mut index = 0;
    for (level, &out) in channels.iter().enumerate().rev() {
        for block in 0..=config.num_res_blocks {
            let name = alloc::format!("output_blocks.{index}");
            index += 1;
            let skip = kept.pop().unwrap_or(0);
            let mut layers = Vec::from([residual(alloc::format!("{name}.0"), [current, skip], out)]);
            current = out;
            if attention.contains(&(1 << level)) {
                layers.push(attend(alloc::format!("{name}.{}", layers.len()), current, heads_up)?);
            }
            if level > 0 && block == config.num_res_blocks {
                layers.push(resampler(alloc::format!("{name}.{}", layers.len()), current, Resample::Up));
            }
            stages.push(Stage { layers, keeps: false });
        }
    }
    Ok(stages)
}

/// Returns the stages of a network without an upsampling half: `input_blocks`, `middle_block`.
///
/// # Errors
/// Returns the errors of [`layout`].
pub(super) fn encoder_layout(config: &UnetConfig) -> Result<Vec<Stage>> {
    let mut stages = layout(config)?;
    // The middle is the first stage whose result is not kept for a skip connection.
    let middle = stages.iter().position(|stage| !stage.keeps);
    stages.truncate(middle.map_or(stages.len(), |middle| middle + 1));
    Ok(stages)
}
