//! The configuration of a vision transformer.

use serde::{Deserialize, Serialize};

use crate::weights::Resizing;
use crate::{Error, Result};

/// The sizes of a vision transformer, in JSON under the names of the goldens' `config`. Only what differs from its
/// default is written; fields that are not here (`arch`, a name for readers) are passed over.
///
/// ```
/// use percept::models::VitConfig;
///
/// let small = r#"{"patch":16,"dim":384,"depth":12,"heads":6,"image":224}"#;
/// let config = VitConfig::from_json(small)?;
/// assert_eq!((config.ln_eps, config.registers), (1e-6, 0));
/// assert_eq!(serde_json::to_string(&config).unwrap(), small);
/// # Ok::<(), percept::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Height and width of a patch, in pixels.
    pub patch: usize,
    /// Channels of a token, and elements of the representation.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of each block's attention.
    pub heads: usize,
    /// Height and width of the images that the position embeddings were made for, in pixels; also called
    /// `native_image`.
    #[serde(alias = "native_image")]
    pub image: usize,
    /// Added to the variance by every layer norm.
    #[serde(default = "layer_norm_eps", skip_serializing_if = "is_layer_norm_eps")]
    pub ln_eps: f32,
    /// Register tokens, between class token and patches.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registers: usize,
    /// Whether what attention and MLP add is scaled per channel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub layer_scale: bool,
    /// How position embeddings are resized for images of another size.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pos_embed: Resizing,
}

/// That of DINO, DINOv2 and timm's vision transformers.
fn layer_norm_eps() -> f32 {
    1e-6
}

fn is_layer_norm_eps(eps: &f32) -> bool {
    *eps == layer_norm_eps()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl VitConfig {
    /// Reads `{"patch": 16, "dim": 384, "depth": 12, "heads": 6, "image": 224}`.
    ///
    /// # Errors
    /// [`Error::Config`] where a field is missing, or has a value that makes no model.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: VitConfig = super::parse("percept.config of a vit", json)?;
        config.check()?;
        Ok(config)
    }

    /// Patches along a side of the images that the position embeddings were made for.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }

    /// Refuses sizes that make no model.
    pub(super) fn check(&self) -> Result<()> {
        let sizes = [
            ("patch", self.patch, 1, 256),
            ("dim", self.dim, 1, 16_384),
            ("depth", self.depth, 1, 256),
            ("heads", self.heads, 1, 1024),
            ("image", self.image, 1, 8192),
            ("registers", self.registers, 0, 1024),
        ];
        for (field, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                return Err(Error::config(field, alloc::format!("{least} to {most}"), value));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            let expected = alloc::format!("a number that divides dim, {}", self.dim);
            return Err(Error::config("heads", expected, self.heads));
        }
        if !self.image.is_multiple_of(self.patch) {
            let expected = alloc::format!("a multiple of patch, {}", self.patch);
            return Err(Error::config("image", expected, self.image));
        }
        // Neither NaN nor an infinity is less than 1.
        if !(0.0..1.0).contains(&self.ln_eps) {
            return Err(Error::config("ln_eps", "0 or more, and less than 1", self.ln_eps));
        }
        Ok(())
    }
}
