//! The configuration of a guided-diffusion UNet, under guided-diffusion's flag names.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The way in which a representation conditions the UNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditioning {
    /// The UNet takes no representation.
    #[default]
    None,
    /// `ssl_emb(h)` is added to the timestep embedding, as in RCDM's released weights.
    TimeEmbedding,
    /// Both norms of every residual block are conditional batch norms, as in RCDM's paper.
    Cbn,
}

/// The flags that change the network, with guided-diffusion's names and defaults, and three flags of
/// percept: `ssl_dim`, `conditioning`, `spectral_norm`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct UnetConfig {
    /// The height and width of the image. guided-diffusion calls it `large_size` for an upsampler.
    pub image_size: usize,
    /// The height and width of the small image that an upsampler enlarges, or 0 if the UNet is not an upsampler.
    #[serde(skip_serializing_if = "is_zero")]
    pub small_size: usize,
    /// The number of base channels.
    pub num_channels: usize,
    /// The number of residual blocks per resolution.
    pub num_res_blocks: usize,
    /// The number of attention heads.
    pub num_heads: usize,
    /// The number of attention heads in the upsampling half, or -1 for `num_heads`.
    pub num_heads_upsample: i64,
    /// The number of channels of a head, or -1. If it is not -1, it overrides the numbers of heads.
    pub num_head_channels: i64,
    /// The sizes of the feature maps that have attention, in pixels: "32,16,8".
    pub attention_resolutions: String,
    /// The multiple of the base channels at each resolution: "1,2,4". If empty, it depends on the image size.
    pub channel_mult: String,
    /// True if a class label conditions the UNet.
    pub class_cond: bool,
    /// The number of classes, or 0 for ImageNet's 1000.
    pub num_classes: usize,
    /// True if the timestep embedding scales and shifts (FiLM), false if it is added.
    pub use_scale_shift_norm: bool,
    /// True if residual blocks change the resolution, false if convolutions do.
    pub resblock_updown: bool,
    /// True for the new order of queries, keys and values in the channels of attention.
    pub use_new_attention_order: bool,
    /// True if the UNet predicts a variance in addition to the noise.
    pub learn_sigma: bool,
    /// The number of elements of the representation, or 0 if the UNet takes none.
    pub ssl_dim: usize,
    /// The way in which the representation conditions the UNet.
    pub conditioning: Conditioning,
    /// True if the linear layers of the conditional batch norms are spectrally normalised.
    pub spectral_norm: bool,
    /// The number of timesteps that the UNet was trained with.
    pub diffusion_steps: usize,
    /// The name of the noise schedule.
    pub noise_schedule: String,
    /// True if the UNet predicts x_0 instead of the noise.
    pub predict_xstart: bool,
    /// True if the UNet takes timesteps scaled to 0..1000.
    pub rescale_timesteps: bool,
}

impl Default for UnetConfig {
    fn default() -> Self {
        UnetConfig {
            image_size: 64,
            small_size: 0,
            num_channels: 128,
            num_res_blocks: 2,
            num_heads: 4,
            num_heads_upsample: -1,
            num_head_channels: -1,
            attention_resolutions: "16,8".to_string(),
            channel_mult: String::new(),
            class_cond: false,
            num_classes: 0,
            use_scale_shift_norm: true,
            resblock_updown: false,
            use_new_attention_order: false,
            learn_sigma: false,
            ssl_dim: 0,
            conditioning: Conditioning::None,
            spectral_norm: false,
            diffusion_steps: 1000,
            noise_schedule: "linear".to_string(),
            predict_xstart: false,
            rescale_timesteps: false,
        }
    }
}

/// The flags that only an upsampler's configuration has, and those whose default differs for an upsampler.
#[derive(Deserialize)]
struct UpsamplerFlags {
    image_size: Option<usize>,
    large_size: Option<usize>,
    class_cond: Option<bool>,
}

impl UpsamplerFlags {
    /// Returns the size of an upsampler's result, which has two names.
    fn upsampled_size(&self) -> Result<usize> {
        match (self.large_size, self.image_size) {
            (Some(large), Some(size)) if large != size => {
                Err(Error::config("image_size", alloc::format!("large_size, {large}"), size))
            }
            (Some(size), _) | (None, Some(size)) => Ok(size),
            (None, None) => Err(Error::config("large_size", "the size of what an upsampler makes", "none")),
        }
    }
}

fn is_zero(size: &usize) -> bool {
    *size == 0
}

/// The number of groups of every group norm.
pub(super) const GROUPS: usize = 32;

impl UnetConfig {
    /// The flags of the released RCDM at 128 x 128, which has 422.6 million parameters.
    pub const RCDM_128: &str = r#"{"image_size": 128, "num_channels": 256, "num_res_blocks": 2, "num_heads": 4,
        "attention_resolutions": "32,16,8", "resblock_updown": true, "use_scale_shift_norm": true,
        "learn_sigma": true, "ssl_dim": 2048, "conditioning": "time_embedding"}"#;

    /// Reads the flags from JSON, ignoring unknown flags.
    ///
    /// A configuration with a `small_size` is that of an upsampler. Its size is given by `image_size`, `large_size`, or
    /// both with the same value. If `class_cond` is missing, the upsampler is class-conditional if `num_classes` is
    /// above 0.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if a flag has an invalid value.
    pub fn from_json(json: &str) -> Result<Self> {
        let at = "percept.config of a unet";
        let mut config: UnetConfig = super::parse(at, json)?;
        let flags: UpsamplerFlags = super::parse(at, json)?;
        match (config.small_size, flags.large_size) {
            (0, None) => {}
            (0, Some(large)) => {
                let got = alloc::format!("none, beside large_size {large}");
                return Err(Error::config("small_size", "the size of the image that an upsampler makes larger", got));
            }
            _ => {
                config.image_size = flags.upsampled_size()?;
                config.class_cond = flags.class_cond.unwrap_or(config.num_classes > 0);
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Reads the flags of a model file or golden of this kind. A `superres` must have a small size, a `unet` must not
    /// have one, and a `sampler` may be either.
    ///
    /// # Errors
    /// Returns the errors of [`UnetConfig::from_json`], and [`Error::Config`] if the flags are those of the other kind.
    pub fn of_kind(kind: &str, json: &str) -> Result<Self> {
        let config = UnetConfig::from_json(json)?;
        match (kind, config.small_size) {
            ("superres", 0) => {
                Err(Error::config("small_size", "the size of the image that an upsampler makes larger", "none"))
            }
            ("unet", small @ 1..) => Err(Error::config("small_size", "none: a unet is no upsampler", small)),
            _ => Ok(config),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let positive =
            [("image_size", self.image_size), ("num_channels", self.num_channels), ("num_heads", self.num_heads)];
        if let Some((flag, value)) = positive.into_iter().find(|&(_, value)| value == 0 || value > 1 << 12) {
            return Err(Error::config(flag, "1 to 4096", value));
        }
        if self.small_size > 1 << 12 {
            return Err(Error::config("small_size", "1 to 4096, or 0 where it is no upsampler", self.small_size));
        }
        if self.diffusion_steps == 0 {
            return Err(Error::config("diffusion_steps", "1 or more", 0));
        }
        if self.num_res_blocks > 64 {
            return Err(Error::config("num_res_blocks", "0 to 64", self.num_res_blocks));
        }
        for (flag, value) in
            [("num_head_channels", self.num_head_channels), ("num_heads_upsample", self.num_heads_upsample)]
        {
            if value != -1 && value <= 0 {
                return Err(Error::config(flag, "-1, or a number above 0", value));
            }
        }
        if (self.conditioning == Conditioning::None) != (self.ssl_dim == 0) {
            let got = alloc::format!("ssl_dim {} with {:?}", self.ssl_dim, self.conditioning);
            return Err(Error::config("ssl_dim", "above 0 exactly where a representation conditions the UNet", got));
        }
        if self.spectral_norm && self.conditioning != Conditioning::Cbn {
            return Err(Error::config("spectral_norm", "true only with conditioning \"cbn\"", "true"));
        }
        let channels = self.channels()?;
        if let Some(odd) = channels.iter().find(|&&channels| channels == 0 || channels % GROUPS != 0) {
            let expected = alloc::format!("multiples of the num_channels that {GROUPS} groups divide");
            return Err(Error::config("channel_mult", expected, alloc::format!("{odd} channels")));
        }
        let halvings = channels.len() - 1;
        if !self.image_size.is_multiple_of(1 << halvings) {
            let expected = alloc::format!("a multiple of {}, for {} resolutions", 1 << halvings, channels.len());
            return Err(Error::config("image_size", expected, self.image_size));
        }
        self.attention_divisors()?;
        Ok(())
    }

    /// Returns the number of channels at each resolution, the finest first.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if `channel_mult` is not a list of numbers, or if it is empty and
    /// guided-diffusion has no default list for the image size.
    pub fn channels(&self) -> Result<Vec<usize>> {
        let listed = match (self.channel_mult.trim(), self.image_size) {
            ("", 512) if self.small_size > 0 => "1,1,2,2,4,4",
            ("", 512) => "0.5,1,1,2,2,4,4",
            ("", 256) => "1,1,2,2,4,4",
            ("", 128) => "1,1,2,3,4",
            ("", 64) => "1,2,3,4",
            ("", size) => {
                let got = alloc::format!("empty, for images of {size}");
                return Err(Error::config(
                    "channel_mult",
                    "a list (only 64, 128, 256 and 512 have one of their own)",
                    got,
                ));
            }
            (listed, _) => listed,
        };
        let multiple = |text: &str| -> Option<usize> {
            let value: f64 = text.trim().parse().ok()?;
            (value > 0.0 && value <= 64.0).then_some((value * self.num_channels as f64) as usize)
        };
        let channels: Option<Vec<usize>> = listed.split(',').map(multiple).collect();
        channels
            .filter(|channels| channels.len() <= 16)
            .ok_or_else(|| Error::config("channel_mult", "up to 16 numbers in (0, 64] separated by commas", listed))
    }

    /// Returns the factors by which the feature maps with attention are smaller than the image.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if `attention_resolutions` is not a list of sizes.
    pub fn attention_divisors(&self) -> Result<Vec<usize>> {
        let divisor = |text: &str| -> Option<usize> {
            let size: usize = text.trim().parse().ok()?;
            (size > 0).then(|| self.image_size / size)
        };
        let divisors: Option<Vec<usize>> = self.attention_resolutions.split(',').map(divisor).collect();
        divisors.ok_or_else(|| {
            let expected = "sizes of feature maps in pixels, separated by commas";
            Error::config("attention_resolutions", expected, &self.attention_resolutions)
        })
    }

    /// Returns the number of channels of the result: the noise (or x_0), and the variance if it is learned.
    pub fn out_channels(&self) -> usize {
        if self.learn_sigma { 6 } else { 3 }
    }

    /// Returns the number of classes of the label that conditions the UNet, or 0 if there is no label.
    pub fn classes(&self) -> usize {
        match (self.class_cond, self.num_classes) {
            (false, _) => 0,
            (true, 0) => 1000,
            (true, classes) => classes,
        }
    }

    /// Returns the number of elements of the timestep's embedding inside the network.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.num_channels
    }
}
