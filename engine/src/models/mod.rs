//! The networks: functions that add a model's layers to a [`Graph`](crate::program::Graph), in the order
//! and under the names of its checkpoint's keys.

mod classifier;
mod classifier_config;
mod head;
mod layers;
mod resnet;
mod superres;
mod unet;
mod unet_blocks;
mod unet_condition;
mod unet_config;
mod unet_layout;
mod vit;
mod vit_config;

pub use classifier::classifier;
pub use classifier_config::{ClassifierConfig, Pool};
pub use head::{HeadConfig, HeadKind, head};
pub use layers::spatial_mean;
pub use resnet::{BlockKind, ResNetConfig, ResNetValues, resnet};
pub use unet::unet;
pub use unet_condition::{Condition, condition};
pub use unet_config::{Conditioning, UnetConfig};
pub use unet_layout::{Layer, Resample, Stage, layout};
pub use vit::{VitValues, vit};
pub use vit_config::VitConfig;

use crate::{Error, Result};

/// Reads a model's configuration from the JSON of a file's metadata.
///
/// # Errors
/// [`Error::Config`] where it is no JSON or a field has a value that it cannot have.
fn parse<'a, T: serde::Deserialize<'a>>(at: &str, json: &'a str) -> Result<T> {
    // By serde's rules an array would do as well.
    if json.trim_start().starts_with('[') {
        return Err(Error::config(at, "a JSON object of the model's flags", "an array"));
    }
    serde_json::from_str(json).map_err(|error| Error::config(at, "a JSON object of the model's flags", error))
}
