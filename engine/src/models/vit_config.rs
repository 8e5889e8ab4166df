//! The configuration of a vision transformer.

use serde::{Deserialize, Serialize};

use crate::weights::Resizing;
use crate::{Error, Result};

/// The sizes of a vision transformer. The JSON has the names of the goldens' `config`. Fields that have a default are
/// only written if they differ from it. Unknown fields, such as `arch`, a name for human readers, are ignored.
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
    /// The height and width of a patch, in pixels.
    pub patch: usize,
    /// The number of channels of a token, and of elements of the representation.
    pub dim: usize,
    /// The number of blocks.
    pub depth: usize,
    /// The number of attention heads of each block.
    pub heads: usize,
    /// The height and width of the images that the position embeddings were trained for, in pixels. The JSON may also
    /// call it `native_image`.
    #[serde(alias = "native_image")]
    pub image: usize,
    /// The number that every layer norm adds to the variance.
    #[serde(default = "layer_norm_eps", skip_serializing_if = "is_layer_norm_eps")]
    pub ln_eps: f32,
    /// The number of register tokens, which are between the class token and the patches.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registers: usize,
    /// True if the results of attention and MLP are scaled per channel before they are added.
    #[serde(default, skip_serializing_if = "is_default")]
    pub layer_scale: bool,
    /// The rule that resizes position embeddings for images of another size.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pos_embed: Resizing,
}

/// Returns the epsilon of the vision transformers of DINO, DINOv2 and timm.
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
    /// Returns [`Error::Config`] if a field is missing or has an invalid value.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: VitConfig = super::parse("percept.config of a vit", json)?;
        config.check()?;
        Ok(config)
    }

    /// Returns the number of patches along a side of the images that the position embeddings were trained for.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }

    /// Checks that the sizes are valid.
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
