//! Derives the configurations of projector heads.

use percept::{Error, Result};
use serde_json::{Map, Value, json};

use super::encoder::finish;
use super::{Config, Shapes};

/// Derives the configuration of a head: the widths of its linear layers, and the method if the names determine it.
pub fn config(shapes: &Shapes<'_>, method: Option<&'static str>, given: &Map<String, Value>) -> Result<Config> {
    let Some(method) = method.or_else(|| given.get("head").and_then(Value::as_str)) else {
        let expected = "\"dino\" (GELU) or \"simclr\" (ReLU) in --config, for the weights do not tell";
        return Err(Error::config("head", expected, "nothing"));
    };
    // The layers between two linear layers are numbered too: batch norms, or activations without tensors.
    let layer: fn(usize) -> String = match method {
        "dino" | "simclr" => |index| format!("mlp.{index}"),
        "barlow" => |index| format!("{index}.0"),
        _ => |index| index.to_string(),
    };
    let mut dims = Vec::new();
    for index in 0..16 {
        let weight = format!("{}.weight", layer(index));
        if shapes.0.get(&weight).is_some_and(|weight| weight.shape().len() == 2) {
            if dims.is_empty() {
                dims.push(shapes.dim(&weight, 1)?);
            }
            dims.push(shapes.dim(&weight, 0)?);
        }
    }
    // A DINO head of one layer is not a sequence.
    if dims.is_empty() && shapes.has("mlp.weight") {
        dims = vec![shapes.dim("mlp.weight", 1)?, shapes.dim("mlp.weight", 0)?];
    }
    // BYOL's and SwAV's heads have the same names.
    let method = match (method, given.get("head").and_then(Value::as_str)) {
        ("byol" | "swav", Some(named @ ("byol" | "swav"))) => named,
        _ => method,
    };
    finish(json!({"head": method, "dims": dims}), given, &["head", "dims"], Vec::new())
}
