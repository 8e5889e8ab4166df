//! The configuration of guided-diffusion's classifier of noisy images.

use alloc::string::{String, ToString};

use serde::Deserialize;

use super::UnetConfig;
use crate::{Error, Result};

/// How a classifier makes one row of an image, as guided-diffusion names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The mean of the pixels attends to them and to itself: the pooling of CLIP.
    #[default]
    Attention,
    /// The mean of the pixels.
    Adaptive,
    /// The means of the results of all blocks, side by side.
    Spatial,
}

/// The flags of a classifier, with guided-diffusion's names for those of a UNet, and with the defaults of its
/// classifiers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClassifierConfig {
    /// Height and width of the image.
    pub image_size: usize,
    /// Base channels.
    pub num_channels: usize,
    /// Residual blocks per resolution.
    pub num_res_blocks: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Channels of a head, where not -1: then it decides and not the number of heads.
    pub num_head_channels: i64,
    /// Sizes of the feature maps that have attention, in pixels: "32,16,8".
    pub attention_resolutions: String,
    /// Multiples of the base channels, per resolution: "1,2,4"; empty: by image size.
    pub channel_mult: String,
    /// Whether the timestep embedding scales and shifts (FiLM), or is added.
    pub use_scale_shift_norm: bool,
    /// Whether residual blocks change the resolution, or convolutions.
    pub resblock_updown: bool,
    /// The order of queries, keys and values in attention's channels; attention pooling always has the new one.
    pub use_new_attention_order: bool,
    /// How one row is made of an image.
    pub pool: Pool,
    /// How many classes it tells apart.
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
    /// Reads the flags from JSON; those that are not the network's are passed over.
    ///
    /// # Errors
    /// [`Error::Config`] where a flag has a value that makes no network.
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

    /// The UNet of whose way down the classifier is made.
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
