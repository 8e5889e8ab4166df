//! UNets of any configuration, with inputs of their own.

use percept::Result;
use percept::models::{UnetConfig, condition, unet};
use percept::program::{Graph, ValueId};
use percept::weights::{Scope, Synthetic, tensors_of};

/// Adds a forward pass of a UNet for `batch` images: inputs `x`, `time` and, if the configuration has them, `feat`,
/// `labels` and `low_res`. Returns its output.
///
/// # Errors
/// Returns an error if the scope lacks a tensor, or if the configuration is invalid.
pub fn add_unet(g: &mut Graph, config: &UnetConfig, scope: &Scope<'_>, batch: usize) -> Result<ValueId> {
    let (size, small) = (config.image_size, config.small_size);
    let x = g.input("x", [batch, size, size, 3]);
    let time = g.input("time", [batch, config.num_channels]);
    let feat = (config.ssl_dim > 0).then(|| g.input("feat", [batch, config.ssl_dim]));
    let labels = (config.classes() > 0).then(|| g.input_u32("labels", [batch]));
    let mut condition = condition(g, config, scope, feat, labels)?;
    if small > 0 {
        let low_res = g.input("low_res", [batch, small, small, 3]);
        condition = condition.with_low_res(g, config, low_res)?;
    }
    unet(g, config, scope, x, time, &condition)
}

/// Creates synthetic weights for a UNet of a configuration.
///
/// # Errors
/// Returns an error if the configuration is invalid.
pub fn unet_weights(config: &UnetConfig) -> Result<Synthetic> {
    Ok(Synthetic::new(tensors_of(|scope| add_unet(&mut Graph::new(), config, scope, 1).map(drop))?))
}
