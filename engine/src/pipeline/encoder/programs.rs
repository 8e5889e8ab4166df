//! The programs of an encoder: of a trunk, and of a head, up to a layer.

use crate::models::{self, HeadConfig, ResNetConfig, VitConfig, resnet, spatial_mean, vit};
use crate::pipeline::mapped::{MappedModel, config_of};
use crate::program::{Graph, Program, ValueId};
use crate::weights::{Checkpoint, WeightSource, kind_and_config};
use crate::{Error, Result};

/// What gives the values of a layer, `h`, for a batch of `image`s of so many pixels a side, by a model file of a kind that does.
pub(super) fn trunk(model: &MappedModel, batch: usize, size: usize, layer: &str) -> Result<Program> {
    let (kind, config) = kind_and_config(model)?;
    let within = |error: Error| error.within(model.name());
    let mut g = Graph::new();
    let image = g.input("image", [batch, size, size, 3]);
    let checkpoint = Checkpoint::new(model);
    let scope = checkpoint.root();
    let layers = match kind {
        "resnet" => {
            let config = ResNetConfig::from_json(config).map_err(within)?;
            let values = resnet(&mut g, &config, &scope, image).map_err(within)?;
            let mut layers = Vec::new();
            for (name, stage) in values.stages {
                let mean = spatial_mean(&mut g, &name, stage)?;
                layers.push((name, mean));
            }
            layers.push(("trunk".to_string(), values.trunk));
            layers
        }
        "vit" => {
            let config = VitConfig::from_json(config).map_err(within)?;
            let values = vit(&mut g, &config, &scope, image).map_err(within)?;
            let ends =
                [("tokens_mean", values.tokens_mean), ("patch_mean", values.patch_mean), ("trunk", values.trunk)];
            let mut layers = values.blocks;
            layers.extend(ends.map(|(name, value)| (name.to_string(), value)));
            layers
        }
        other => {
            let expected = "a model of kind \"resnet\" or \"vit\"";
            return Err(Error::file(model.name(), expected, format!("{other:?}")));
        }
    };
    drop(scope);
    checkpoint.finish(&format!("a {kind} of its configuration"))?;
    up_to_layer(g, &layers, layer, model.name())
}

/// What gives the values of a head's layer, `h`, for a batch of the `trunk`'s, each of `in_dim` elements.
pub(super) fn head(model: &MappedModel, batch: usize, in_dim: usize, layer: &str) -> Result<Program> {
    let config = config_of(model, "head", HeadConfig::from_json)?;
    if config.in_dim() != in_dim {
        let expected = format!("a head for the encoder's {in_dim} features");
        return Err(Error::file(model.name(), expected, format!("one for {}", config.in_dim())));
    }
    let mut g = Graph::new();
    let trunk = g.input("trunk", [batch, in_dim]);
    let checkpoint = Checkpoint::new(model);
    let values = models::head(&mut g, &config, &checkpoint.root(), trunk)?;
    checkpoint.finish("a head of its configuration")?;
    let mut layers: Vec<(String, ValueId)> =
        values.iter().enumerate().map(|(index, value)| (format!("head.{index}"), *value)).collect();
    layers.push(("head".to_string(), values[values.len() - 1]));
    up_to_layer(g, &layers, layer, model.name())
}

/// The program that computes one of the layers and nothing behind it, as its output `h`.
fn up_to_layer(mut g: Graph, layers: &[(String, ValueId)], layer: &str, file: &str) -> Result<Program> {
    let Some((_, value)) = layers.iter().find(|(name, _)| name == layer) else {
        let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        let expected = format!("one of {} of {file}", names.join(", "));
        return Err(Error::config("layer", expected, format!("{layer:?}")));
    };
    g.output("h", *value);
    g.finish()?.up_to(&["h"])
}

/// Elements of an image's `h`.
pub(super) fn dim(program: &Program) -> Result<usize> {
    let shape = program.value(program.output("h")?).shape;
    Ok(shape.elements() / shape[0])
}
