//! What is in a checkpoint, for people and for programs. Headers only: no element is read.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Dtype, Tensor};
use crate::hyperparameters::{Given, config};
use crate::recognise::{Model, recognise};
use crate::tree::tree;

/// The most characters of a value of metadata that are shown.
const SHOWN: usize = 200;

/// A description in lines.
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

/// The same as one JSON object.
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

/// A model of a checkpoint.
struct Described {
    part: String,
    kind: &'static str,
    place: String,
    /// Elements of all its tensors of floats: of statistics, too, and of what inference does not use.
    parameters: usize,
    /// Or what has to be given for it.
    config: Result<String, String>,
}

/// The models that are found in a checkpoint; of a file without one, none.
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

/// A text of somebody else's for a terminal: what would move its cursor or change its colours is written out.
pub(crate) fn printable(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

/// A type's name, as in Rust.
pub(crate) fn dtype(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// So many bytes, for people.
pub(crate) fn bytes(count: usize) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}
