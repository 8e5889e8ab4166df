//! The layers of guided-diffusion's UNet as plain data: which there are, of what size, under which name.

use alloc::string::String;
use alloc::vec::Vec;

use super::UnetConfig;
use crate::{Error, Result};

/// What a residual block does to the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// Nothing.
    Keep,
    /// Halves it, by the mean of 2x2 pixels.
    Down,
    /// Doubles it, by nearest neighbour.
    Up,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A 3x3 convolution: the first layer, or one that changes the resolution.
    Conv {
        /// Its name.
        name: String,
        /// Channels of the result.
        out_channels: usize,
        /// What it does to the resolution: strided down, or after enlargement.
        resample: Resample,
    },
    /// A residual block.
    Residual {
        /// Its name.
        name: String,
        /// Channels that come from below and, in the decoder, from the skip.
        in_channels: [usize; 2],
        /// Channels of the result.
        out_channels: usize,
        /// What it does to the resolution.
        resample: Resample,
    },
    /// Self-attention.
    Attention {
        /// Its name.
        name: String,
        /// Heads.
        heads: usize,
    },
}

/// Some layers in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Whether its result is kept for the decoder. The decoder's stages, which take what was kept
    /// last first, are those whose first layer has two sources.
    pub keeps: bool,
}

/// All stages: `input_blocks`, `middle_block`, `output_blocks`.
///
/// # Errors
/// [`Error::Config`] where the flags make no network.
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
    // What changes the resolution is a residual block, or a convolution under guided-diffusion's name for it.
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

/// The stages of a network that only encodes: `input_blocks`, `middle_block`.
///
/// # Errors
/// As [`layout`].
pub(super) fn encoder_layout(config: &UnetConfig) -> Result<Vec<Stage>> {
    let mut stages = layout(config)?;
    // The middle is the first stage that no other takes up again.
    let middle = stages.iter().position(|stage| !stage.keeps);
    stages.truncate(middle.map_or(stages.len(), |middle| middle + 1));
    Ok(stages)
}
