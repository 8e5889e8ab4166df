//! The networks: functions that add a model's layers to a [`Graph`](crate::program::Graph), in the order
//! and under the names of the checkpoint's keys.

mod classifier;
mod classifier_config;
mod head;
mod layers;
mod model;
mod resnet;
mod superres;
mod unet;
mod unet_blocks;
mod unet_condition;
mod unet_config;
mod unet_layout;
#[cfg(feature = "std")]
mod untrained;
mod vit;
mod vit_config;

pub use classifier::classifier;
pub use classifier_config::{ClassifierConfig, Pool};
pub use head::{HeadConfig, HeadKind, head};
pub use layers::spatial_mean;
pub use model::{Model, ModelInput, ModelValues};
pub use resnet::{BlockKind, ResNetConfig, ResNetValues, resnet};
pub use unet::unet;
pub use unet_condition::{Condition, condition};
pub use unet_config::{Conditioning, UnetConfig};
pub use unet_layout::{Layer, Resample, Stage, layout};
#[cfg(feature = "std")]
pub use untrained::untrained;
pub use vit::{VitValues, vit};
pub use vit_config::VitConfig;

use crate::{Error, Result};

/// Reads a model's configuration from the JSON in a file's metadata.
///
/// # Errors
/// Returns [`Error::Config`] if `json` is not a JSON object, or if a field has an invalid value.
fn parse<'a, T: serde::Deserialize<'a>>(at: &str, json: &'a str) -> Result<T> {
    // serde would accept an array as well.
    if json.trim_start().starts_with('[') {
        return Err(Error::config(at, "a JSON object of the model's flags", "an array"));
    }
    serde_json::from_str(json).map_err(|error| Error::config(at, "a JSON object of the model's flags", error))
}
