//! Projector heads of self-supervised methods: linear layers, usually with batch norms, between the
//! trunk's representation and the loss.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use super::layers::linear;
use crate::kernels::{Activation, Dense};
use crate::program::{Graph, ValueId};
use crate::weights::Scope;
use crate::{Error, Result};

/// The method that a head belongs to. It determines the names, the activation, and the positions of batch norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadKind {
    /// `mlp.0, mlp.2, ...`: linear, GELU; with batch norms `mlp.0, mlp.1, mlp.3, ...`.
    Dino,
    /// `mlp.0, mlp.2, ...`: linear, ReLU.
    Simclr,
    /// `0.0, 0.1, 1.0, 1.1, ..., k.0`: linear without bias, batch norm, ReLU.
    Barlow,
    /// `0, 1, 3, 4, 6`: linear, batch norm, ReLU; the last linear layer has no bias.
    Vicreg,
    /// The same as [`Vicreg`](Self::Vicreg), but the last layer has a bias.
    Byol,
    /// The same as [`Byol`](Self::Byol).
    Swav,
}

/// The kind and widths of a head.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HeadConfig {
    /// The method.
    pub head: HeadKind,
    /// The number of features before, between and after the linear layers: one entry more than there are layers.
    pub dims: Vec<usize>,
}

impl HeadConfig {
    /// Reads `{"head": "vicreg", "dims": [2048, 8192, 8192, 8192]}`.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if the kind is unknown, if there are fewer than two widths, or if a width is 0.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: HeadConfig = super::parse("percept.config of a head", json)?;
        if config.dims.len() < 2 || config.dims.contains(&0) {
            return Err(Error::config("dims", "two or more widths above 0", alloc::format!("{:?}", config.dims)));
        }
        Ok(config)
    }

    /// Returns the number of elements of the representation that the head takes.
    pub fn in_dim(&self) -> usize {
        self.dims[0]
    }

    /// Returns the number of elements of the representation that the head returns.
    pub fn out_dim(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }
}

/// Adds a head for `trunk [n, dims[0]]`. Returns `head.0, head.1, ...`, each after its batch norm and
/// activation. The last one is the head's result, `[n, dims[last]]`.
///
/// # Errors
/// Returns an error if `trunk` does not have `dims[0]` features.
pub fn head(g: &mut Graph, config: &HeadConfig, scope: &Scope<'_>, trunk: ValueId) -> Result<Vec<ValueId>> {
    // DINO's head ends with a layer for its loss, which is not part of the representation.
    scope.ignore("last_layer");
    let rows = g.shape(trunk).first().copied().unwrap_or(0);
    let layers = config.dims.len() - 1;
    let (linear_step, prefix, has_norm) = match config.head {
        HeadKind::Dino => {
            // Layers keep their numbers even if the batch norms are folded.
            let has_norm = scope.has("mlp.1.running_mean") || scope.has("mlp.3.weight");
            (if has_norm { 3 } else { 2 }, "mlp.", has_norm)
        }
        HeadKind::Simclr => (2, "mlp.", false),
        HeadKind::Barlow => (1, "", true),
        HeadKind::Vicreg | HeadKind::Byol | HeadKind::Swav => (3, "", true),
    };
    let activation = if config.head == HeadKind::Dino { Activation::Gelu } else { Activation::Relu };

    let mut values = Vec::new();
    let mut x = trunk;
    for (layer, dims) in config.dims.windows(2).enumerate() {
        let is_last = layer + 1 == layers;
        let index = layer * linear_step;
        let (own, norm): (String, String) = match config.head {
            HeadKind::Barlow => (alloc::format!("{layer}.0"), alloc::format!("{layer}.1")),
            // A single layer is not in a sequence, and has no number.
            HeadKind::Dino if layers == 1 => ("mlp".into(), String::new()),
            _ => (alloc::format!("{prefix}{index}"), alloc::format!("{prefix}{}", index + 1)),
        };
        let own = scope.at(own);
        let norm = (has_norm && !is_last).then(|| scope.at(norm));
        let dense = Dense {
            rows,
            in_features: dims[0],
            out_features: dims[1],
            bias: match config.head {
                HeadKind::Barlow => false,
                HeadKind::Vicreg => !is_last,
                HeadKind::Dino | HeadKind::Simclr | HeadKind::Byol | HeadKind::Swav => true,
            },
            residual: false,
            activation: if is_last { Activation::Identity } else { activation },
        };
        x = linear(g, &own, norm.as_ref(), dense, x, None)?;
        values.push(x);
    }
    Ok(values)
}
