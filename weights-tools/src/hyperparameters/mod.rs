//! Derives a model's configuration from the names and shapes of its tensors, and takes the rest from a preset or a
//! file.

mod classifier;
mod encoder;
mod head;
mod presets;
mod unet;

use std::collections::BTreeMap;

use percept::{Error, Result};
use serde_json::{Map, Value};

pub use presets::{CLASSIFIERS, PRESETS, preset};

use crate::checkpoint::Tensor;
use crate::layouts::Kind;
use crate::recognise::Model;

/// The information that the user gives about a model, in addition to its tensors.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The name of a preset.
    pub preset: Option<String>,
    /// Flags from a file, which take precedence over the preset's.
    pub flags: Map<String, Value>,
}

/// A configuration and its origin.
#[derive(Clone, Debug)]
pub struct Config {
    /// The value of `percept.config`.
    pub json: String,
    /// The assumptions that were made, for people: one line each.
    pub notes: Vec<String>,
    /// The preset that the configuration comes from, if any.
    pub preset: Option<&'static str>,
}

/// Determines the configuration of a model.
///
/// # Errors
/// Returns [`Error::Config`] if a value can neither be derived from the tensors nor is given, or if the two
/// contradict each other. Returns [`Error::File`] if the tensors are not those of such a model.
pub fn config(model: &Model, given: &Given) -> Result<Config> {
    if let Some(json) = &model.config {
        return own(json, given);
    }
    let shapes = Shapes(&model.tensors);
    if let (Some(preset), false) = (&given.preset, matches!(model.kind, Kind::Unet | Kind::Superres | Kind::Classifier))
    {
        return Err(Error::config("--preset", format!("none for a {}", model.kind.name()), preset));
    }
    match model.kind {
        Kind::ResNet => encoder::resnet(&shapes, &given.flags),
        Kind::Vit => encoder::vit(&shapes, &given.flags),
        Kind::Head(method) => head::config(&shapes, method, &given.flags),
        Kind::Unet | Kind::Superres => unet::config(&shapes, model.kind, given),
        Kind::Classifier => classifier::config(&shapes, given),
    }
}

/// Returns the configuration that a model file states. Flags may repeat it, but not contradict it.
fn own(json: &str, given: &Given) -> Result<Config> {
    if let Some(preset) = &given.preset {
        return Err(Error::config("--preset", "none for a file that says its configuration", preset));
    }
    // The network reports a configuration that is not JSON.
    let own: Value = serde_json::from_str(json).unwrap_or_default();
    for (flag, given) in &given.flags {
        match own.get(flag) {
            Some(own) if own != given => return Err(Error::config(flag, format!("{own}, as the file has it"), given)),
            _ => {}
        }
    }
    Ok(Config { json: json.to_string(), notes: Vec::new(), preset: None })
}

/// The shapes of a model's tensors.
struct Shapes<'a>(&'a BTreeMap<String, Tensor>);

impl Shapes<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the size of a dimension of a tensor.
    fn dim(&self, name: &str, dim: usize) -> Result<usize> {
        let shape = self.0.get(name).map(Tensor::shape);
        let size = shape.and_then(|shape| shape.get(dim)).copied();
        size.ok_or_else(|| {
            let got = shape.map_or("none of that name".to_string(), |shape| format!("shape {shape:?}"));
            Error::file(name, "a tensor that tells the configuration", got)
        })
    }

    /// Counts the parts with consecutive numbers: `layer1.0.conv1.weight` to `layer1.2.conv1.weight` are 3 parts
    /// of `layer1.`. A part that lacks some tensors counts. The first part without any tensor ends the count.
    fn count(&self, prefix: &str) -> usize {
        let has = |index: &usize| {
            let start = format!("{prefix}{index}.");
            self.0.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
        };
        (0..).take_while(has).count()
    }
}

/// Merges the given flags into the known ones.
///
/// # Errors
/// Returns [`Error::Config`] if a flag is unknown, or if its value contradicts the tensors.
fn merged(mut known: Map<String, Value>, given: &Map<String, Value>, allowed: &[&str]) -> Result<Map<String, Value>> {
    for (flag, value) in given {
        check_flag(flag, allowed)?;
        match known.get(flag) {
            Some(of_weights) if of_weights != value => return Err(contradiction(flag, of_weights, value)),
            _ => known.insert(flag.clone(), value.clone()),
        };
    }
    Ok(known)
}

/// Refuses a flag of `--config` that is not in `allowed`.
fn check_flag(flag: &str, allowed: &[&str]) -> Result<()> {
    if allowed.contains(&flag) {
        return Ok(());
    }
    Err(Error::config(format!("--config: {flag}"), format!("one of {}", allowed.join(", ")), "no such flag"))
}

fn contradiction(flag: &str, of_weights: &Value, given: &Value) -> Error {
    Error::config(flag, format!("{of_weights}, as the weights have it"), given)
}
