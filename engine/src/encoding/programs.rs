//! Builds the program of an encoder: a trunk, and optionally its head, up to a layer.

use super::weights::{EncoderWeights, HEAD};
use crate::models::{Model, ModelValues};
use crate::program::{Graph, Program, ValueId};
use crate::weights::{Checkpoint, OpenModel, WeightSource};
use crate::{Error, Result};

/// Builds the program that maps a batch of `size` x `size` images, input `image`, to the values of `layer`, output `h`.
/// The program does not contain anything after that layer.
///
/// # Errors
/// Returns an error if a file is of another kind or lacks tensors, the head does not accept the trunk's
/// representations, or the layer does not exist.
pub(super) fn program(weights: &EncoderWeights, batch: usize, size: usize, layer: &str) -> Result<Program> {
    let trunk = &weights.trunk;
    let model = Model::of_file(trunk)?;
    if !model.is_encoder() {
        let expected = "a model of kind \"resnet\" or \"vit\"";
        return Err(Error::file(trunk.name(), expected, format!("{:?}", model.kind())));
    }
    let mut g = Graph::new();
    let image = g.input("image", [batch, size, size, 3]);
    let checkpoint = Checkpoint::new(trunk);
    let values = model.build(&mut g, &checkpoint.root(), &[image]).map_err(|error| error.within(trunk.name()))?;
    checkpoint.finish(&format!("a {} of its configuration", model.kind()))?;
    let Some(head) = &weights.head else { return up_to_layer(g, layers(values), layer, trunk.name()) };

    let trunk = values.outputs.iter().find(|(name, _)| *name == "trunk").expect("every encoder has a trunk").1;
    let dim = g.shape(trunk).elements() / batch;
    let model = head_of(head, dim)?;
    // Builds the head alone first, so that errors name its tensors as the file does.
    let checkpoint = Checkpoint::new(head);
    let mut alone = Graph::new();
    let rows = alone.input("trunk", [batch, dim]);
    model.build(&mut alone, &checkpoint.root(), &[rows])?;
    checkpoint.finish("a head of its configuration")?;
    let values = model.build(&mut g, &Checkpoint::new(weights).root().at(HEAD), &[trunk])?;
    up_to_layer(g, layers(values), layer, head.name())
}

/// Returns the model of a head's file. Returns an error unless it takes representations of `in_dim` elements.
fn head_of(file: &OpenModel, in_dim: usize) -> Result<Model> {
    match Model::of_file(file)? {
        Model::Head(config) if config.in_dim() != in_dim => {
            let expected = format!("a head for the encoder's {in_dim} features");
            Err(Error::file(file.name(), expected, format!("one for {}", config.in_dim())))
        }
        model @ Model::Head(_) => Ok(model),
        other => Err(Error::file(file.name(), "a model of kind \"head\"", format!("{:?}", other.kind()))),
    }
}

/// Returns the layers whose values can be a representation.
fn layers(values: ModelValues) -> Vec<(String, ValueId)> {
    let outputs = values.outputs.into_iter().filter(|(name, _)| *name != "logits");
    values.layers.into_iter().chain(outputs.map(|(name, value)| (name.to_string(), value))).collect()
}

/// Finishes the program so that it computes one of the layers as output `h`, and nothing after it.
fn up_to_layer(mut g: Graph, layers: Vec<(String, ValueId)>, layer: &str, file: &str) -> Result<Program> {
    let Some((_, value)) = layers.iter().find(|(name, _)| name == layer) else {
        let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        let expected = format!("one of {} of {file}", names.join(", "));
        return Err(Error::config("layer", expected, format!("{layer:?}")));
    };
    g.output("h", *value);
    g.finish()?.up_to(&["h"])
}
