//! The configuration of guided-diffusion's classifier of noisy images.

use alloc::string::{String, ToString};

use serde::Deserialize;

use super::UnetConfig;
use crate::{Error, Result};

/// The pooling of a classifier, which reduces an image to one row, under guided-diffusion's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Attention of the pixels' mean to the pixels and to itself, as in CLIP.
    #[default]
    Attention,
    /// The mean of the pixels.
    Adaptive,
    /// The concatenated spatial means of the results of all blocks.
    Spatial,
}

/// The flags of a classifier, under the names that guided-diffusion uses for those of a UNet, and with the defaults of
/// guided-diffusion's classifiers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClassifierConfig {
    /// The height and width of the image.
    pub image_size: usize,
    /// The number of base channels.
    pub num_channels: usize,
    /// The number of residual blocks per resolution.
    pub num_res_blocks: usize,
    /// The number of attention heads.
    pub num_heads: usize,
    /// The number of channels of a head, or -1. If it is not -1, it overrides `num_heads`.
    pub num_head_channels: i64,
    /// The sizes of the feature maps that have attention, in pixels: "32,16,8".
    pub attention_resolutions: String,
    /// The multiple of the base channels at each resolution: "1,2,4". If empty, it depends on the image size.
    pub channel_mult: String,
    /// True if the timestep embedding scales and shifts (FiLM), false if it is added.
    pub use_scale_shift_norm: bool,
    /// True if residual blocks change the resolution, false if convolutions do.
    pub resblock_updown: bool,
    /// True for the new order of queries, keys and values in the channels of attention. Attention pooling always uses
    /// the new order.
    pub use_new_attention_order: bool,
    /// The pooling that reduces an image to one row.
    pub pool: Pool,
    /// The number of classes.
    pub out_channels: usize,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        ClassifierConfig {
            image_size: 64,
            num_channels: 128,
            num_res_blocks: 2,
            num_heads: 1,
            num_head_channels: 64,
            attention_resolutions: "32,16,8".to_string(),
            channel_mult: String::new(),
            use_scale_shift_norm: true,
            resblock_updown: true,
            use_new_attention_order: false,
            pool: Pool::Attention,
            out_channels: 1000,
        }
    }
}

impl ClassifierConfig {
    /// Reads the flags from JSON, ignoring unknown flags.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if a flag has an invalid value.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: ClassifierConfig = super::parse("percept.config of a classifier", json)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if !(1..=1 << 16).contains(&self.out_channels) {
            return Err(Error::config("out_channels", "1 to 65536", self.out_channels));
        }
        if self.pool == Pool::Attention && self.num_head_channels == -1 {
            return Err(Error::config("num_head_channels", "a number above 0, for pool \"attention\"", -1));
        }
        self.unet().check()
    }

    /// Returns the configuration of the UNet whose downsampling half the classifier uses.
    pub fn unet(&self) -> UnetConfig {
        UnetConfig {
            image_size: self.image_size,
            num_channels: self.num_channels,
            num_res_blocks: self.num_res_blocks,
            num_heads: self.num_heads,
            num_head_channels: self.num_head_channels,
            attention_resolutions: self.attention_resolutions.clone(),
            channel_mult: self.channel_mult.clone(),
            use_scale_shift_norm: self.use_scale_shift_norm,
            resblock_updown: self.resblock_updown,
            use_new_attention_order: self.use_new_attention_order,
            ..UnetConfig::default()
        }
    }
}
