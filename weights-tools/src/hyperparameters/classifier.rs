//! Configurations of ADM's classifiers of noisy images.
//!
//! Names and shapes tell the pooling, the classes and, with attention pooling, the size of the images; not how channels are
//! divided into heads. So it is a released one, whose tensors these are, or the flags are given; whether they fit, the account
//! of all tensors says.

use percept::check::Network;
use percept::weights::Synthetic;
use percept::{Error, Result, Shape};
use serde_json::{Map, Value, json};

use super::{CLASSIFIERS, Config, Given, Shapes, check_flag, contradiction, preset};
use crate::layouts::Kind;

/// Flags that `--config` may have.
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

/// The configuration of a classifier.
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

/// What the tensors give away.
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

/// The released classifier that has these tensors.
fn released(shapes: &Shapes<'_>, known: &Map<String, Value>) -> Result<Option<(&'static str, Map<String, Value>)>> {
    for (name, _) in CLASSIFIERS {
        let mut flags = preset(name)?;
        flags.extend(known.clone());
        let config = Value::Object(flags.clone()).to_string();
        let own = shapes.0.iter().filter_map(|(name, tensor)| Some((name.clone(), Shape::new(tensor.shape()).ok()?)));
        let weights = Box::new(Synthetic::new(own.collect()));
        // Another one lacks tensors, or has them in other shapes.
        if Network::of_weights(Kind::Classifier.name(), &config, weights, 0)
            .and_then(|network| network.tensors())
            .is_ok()
        {
            return Ok(Some((name, preset(name)?)));
        }
    }
    Ok(None)
}
