//! Derives the configurations of ADM's classifiers of noisy images.
//!
//! Names and shapes determine the pooling, the number of classes and, with attention pooling, the image size. They
//! do not determine how channels are divided into heads. So the configuration is that of a released classifier
//! with the same tensors, or the user gives the flags. The account of all tensors then shows if the flags fit.

use percept::models::Model;
use percept::weights::Synthetic;
use percept::{Error, Result, Shape};
use serde_json::{Map, Value, json};

use super::{CLASSIFIERS, Config, Given, Shapes, check_flag, contradiction, preset};
use crate::layouts::Kind;

/// The flags that `--config` may have.
const FLAGS: [&str; 12] = [
    "image_size",
    "num_channels",
    "num_res_blocks",
    "num_heads",
    "num_head_channels",
    "attention_resolutions",
    "channel_mult",
    "use_scale_shift_norm",
    "resblock_updown",
    "use_new_attention_order",
    "pool",
    "out_channels",
];

/// Determines the configuration of a classifier.
pub fn config(shapes: &Shapes<'_>, given: &Given) -> Result<Config> {
    let known = known(shapes)?;
    let (flags, preset) = match &given.preset {
        Some(name) => (preset(name)?, CLASSIFIERS.iter().map(|(other, _)| *other).find(|other| other == name)),
        None if given.flags.is_empty() => match released(shapes, &known)? {
            Some((name, flags)) => (flags, Some(name)),
            None => (Map::new(), None),
        },
        None => (Map::new(), None),
    };
    let notes = match (preset, &given.preset) {
        (Some(name), None) => vec![format!("preset {name}: its tensors are these")],
        _ => Vec::new(),
    };
    let mut flags = flags;
    for (flag, value) in &given.flags {
        check_flag(flag, &FLAGS)?;
        flags.insert(flag.clone(), value.clone());
    }
    for (flag, of_weights) in &known {
        match flags.insert(flag.clone(), of_weights.clone()) {
            Some(given) if given != *of_weights => return Err(contradiction(flag, of_weights, &given)),
            _ => {}
        }
    }
    let missing: Vec<&str> = ["image_size", "num_res_blocks", "num_head_channels"]
        .into_iter()
        .filter(|flag| !flags.contains_key(*flag))
        .collect();
    if !missing.is_empty() {
        let expected = format!("{}: the weights do not tell; give --preset, or --config with them", missing.join(", "));
        return Err(Error::config("configuration of the classifier", expected, "nothing"));
    }
    Ok(Config { json: Value::Object(flags).to_string(), notes, preset })
}

/// Returns the flags that the tensors determine.
fn known(shapes: &Shapes<'_>) -> Result<Map<String, Value>> {
    let (pool, last) =
        [("attention", "out.2.c_proj.weight"), ("adaptive", "out.3.weight"), ("spatial", "out.2.weight")]
            .into_iter()
            .find(|(_, last)| shapes.has(last))
            .ok_or_else(|| {
                let expected = "out.2.c_proj.weight, out.3.weight or out.2.weight, the last layer of a classifier";
                Error::file("out", expected, "none of them")
            })?;
    let flags = json!({
        "num_channels": shapes.dim("time_embed.0.weight", 1)?,
        "pool": pool,
        "out_channels": shapes.dim(last, 0)?,
    });
    Ok(flags.as_object().cloned().unwrap_or_default())
}

/// Returns the released classifier that has these tensors, if any.
fn released(shapes: &Shapes<'_>, known: &Map<String, Value>) -> Result<Option<(&'static str, Map<String, Value>)>> {
    for (name, _) in CLASSIFIERS {
        let mut flags = preset(name)?;
        flags.extend(known.clone());
        let config = Value::Object(flags.clone()).to_string();
        let own = shapes.0.iter().filter_map(|(name, tensor)| Some((name.clone(), Shape::new(tensor.shape()).ok()?)));
        let weights = Synthetic::new(own.collect());
        // With the flags of any other classifier, tensors are missing or have other shapes.
        if Model::new(Kind::Classifier.name(), &config).and_then(|model| model.program(&weights, 1, 0)).is_ok() {
            return Ok(Some((name, preset(name)?)));
        }
    }
    Ok(None)
}
