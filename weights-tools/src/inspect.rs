//! Describes a checkpoint for people and for programs. Reads headers only, no elements.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Dtype, Tensor};
use crate::hyperparameters::{Given, config};
use crate::recognise::{Model, recognise};
use crate::text::{bytes, printable};
use crate::tree::{dtype, tree};

/// The maximum number of characters to show of a metadata value.
const SHOWN: usize = 200;

/// Returns a description in lines of text.
pub fn text(checkpoint: &Checkpoint) -> String {
    let tensors = checkpoint.tensors();
    let total = tensors.iter().map(|tensor| tensor.byte_len()).sum();
    let mut of_type: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for tensor in tensors {
        let (count, elements) = of_type.entry(dtype(tensor.dtype())).or_default();
        (*count, *elements) = (*count + 1, *elements + tensor.elements());
    }
    let mut text =
        format!("{}: {}, {} tensors, {}\n", checkpoint.name(), checkpoint.format(), tensors.len(), bytes(total));
    // Writing to a string does not fail.
    for (name, (count, elements)) in of_type {
        let _ = writeln!(text, "{name}: {elements} elements in {count} tensors");
    }
    for (key, value) in checkpoint.metadata() {
        let shown: String = value.chars().take(SHOWN).collect();
        let more = if shown.len() < value.len() { "…" } else { "" };
        let _ = writeln!(text, "{}: {}{more}", printable(key), printable(&shown));
    }
    for model in models(checkpoint) {
        let place = if model.place.is_empty() { String::new() } else { format!(" in {}", printable(&model.place)) };
        let _ = writeln!(text, "{}: a {}{place}, {} parameters", model.part, model.kind, model.parameters);
        let _ = match model.config {
            Ok(config) => writeln!(text, "  {config}"),
            Err(error) => writeln!(text, "  configuration: {error}"),
        };
    }
    text.push('\n');
    text + &tree(tensors)
}

/// Returns the same description as one JSON object.
pub fn json(checkpoint: &Checkpoint) -> String {
    let tensor = |tensor: &Tensor| -> Value {
        json!({
            "name": tensor.name(),
            "dtype": dtype(tensor.dtype()),
            "shape": tensor.shape(),
            "bytes": tensor.byte_len(),
        })
    };
    let model = |model: Described| -> Value {
        let (config, error) = match model.config {
            Ok(config) => (serde_json::from_str(&config).unwrap_or(Value::String(config)), Value::Null),
            Err(error) => (Value::Null, Value::String(error)),
        };
        json!({
            "part": model.part,
            "kind": model.kind,
            "place": model.place,
            "parameters": model.parameters,
            "config": config,
            "error": error,
        })
    };
    let object = json!({
        "file": checkpoint.name(),
        "format": checkpoint.format(),
        "metadata": checkpoint.metadata(),
        "models": models(checkpoint).into_iter().map(model).collect::<Vec<_>>(),
        "tensors": checkpoint.tensors().iter().map(tensor).collect::<Vec<_>>(),
    });
    format!("{object}\n")
}

/// The description of a model in a checkpoint.
struct Described {
    part: String,
    kind: &'static str,
    place: String,
    /// The number of elements of all its floating-point tensors, including statistics and tensors that inference
    /// does not use.
    parameters: usize,
    /// The configuration, or an error that says what must be given to determine it.
    config: Result<String, String>,
}

/// Returns the models found in a checkpoint. The list is empty if there are none.
fn models(checkpoint: &Checkpoint) -> Vec<Described> {
    let found = recognise(checkpoint).map(|recognised| recognised.models).unwrap_or_default();
    let described = |model: &Model| {
        let is_float = |tensor: &&Tensor| matches!(tensor.dtype(), Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        Described {
            part: format!("{:?}", model.part).to_lowercase(),
            kind: model.kind.name(),
            place: model.place.clone(),
            parameters: model.tensors.values().filter(is_float).map(Tensor::elements).sum(),
            config: config(model, &Given::default()).map(|config| config.json).map_err(|error| error.to_string()),
        }
    };
    found.iter().map(described).collect()
}
