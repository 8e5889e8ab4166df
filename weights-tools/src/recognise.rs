//! Finds the models in a checkpoint, using the tables of [`layouts`](crate::layouts).

use std::collections::BTreeMap;

use percept::{Error, Result};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::layouts::{Kind, NESTS, Part, RULES, Rule};

/// A model in a checkpoint.
#[derive(Clone)]
pub struct Model {
    /// The part of a bundle that it is.
    pub part: Part,
    /// Its kind.
    pub kind: Kind,
    /// The prefix of its names in the checkpoint, such as `teacher.module.backbone.`.
    pub place: String,
    /// Its tensors, under their names in percept's model files.
    pub tensors: BTreeMap<String, Tensor>,
    /// Its configuration, if the file states it, as percept's own model files do.
    pub config: Option<String>,
}

/// The models found in a checkpoint.
pub struct Recognised {
    /// The models, at most one of each part.
    pub models: Vec<Model>,
    /// The names of the tensors that belong to no model.
    pub unused: Vec<String>,
}

/// Finds the models in a checkpoint.
///
/// # Errors
/// Returns [`Error::File`] if there is none. The error says what the file seems to be, for example the state of an
/// optimizer.
pub fn recognise(checkpoint: &Checkpoint) -> Result<Recognised> {
    if let Some(kind) = checkpoint.metadata().get("percept.kind") {
        return percept_model(checkpoint, kind);
    }
    for nest in NESTS {
        let inside: Vec<(&str, &Tensor)> = checkpoint
            .tensors()
            .iter()
            .filter_map(|tensor| Some((tensor.name().strip_prefix(nest)?, tensor)))
            .collect();
        let mut rules: Vec<&Rule> = Vec::new();
        for rule in RULES.iter().filter(|rule| fits(rule, &inside)) {
            if rules.iter().all(|taken| taken.part != rule.part) {
                rules.push(rule);
            }
        }
        // Rules for a head alone have no prefix, so they could match an encoder's own names.
        let has_trunk = rules.iter().any(|rule| rule.part == Part::Trunk);
        rules.retain(|rule| !(has_trunk && rule.part == Part::Head && rule.prefix.is_empty()));
        if !rules.is_empty() {
            return found(checkpoint, nest, &rules);
        }
    }
    Err(Error::file(checkpoint.name(), "a model of a layout that percept knows", seems_to_be(checkpoint)))
}

/// Returns true if the names after a nest match a rule.
fn fits(rule: &Rule, inside: &[(&str, &Tensor)]) -> bool {
    let begins = |start: &&str| {
        inside.iter().any(|(name, _)| name.strip_prefix(rule.prefix).is_some_and(|own| own.starts_with(start)))
    };
    rule.has.iter().all(begins) && !rule.lacks.iter().any(begins)
}

/// Assigns the tensors of a checkpoint to the models of the rules, and lists those that are left over.
fn found(checkpoint: &Checkpoint, nest: &str, rules: &[&Rule]) -> Result<Recognised> {
    let model = |rule: &&Rule| Model {
        part: rule.part,
        kind: rule.kind,
        place: format!("{nest}{}", rule.prefix),
        tensors: BTreeMap::new(),
        config: None,
    };
    let mut models: Vec<Model> = rules.iter().map(model).collect();
    let mut unused = Vec::new();
    for tensor in checkpoint.tensors() {
        // The longest matching prefix wins: `head.` before the empty one.
        let owner = (0..rules.len())
            .filter_map(|index| {
                let own = tensor.name().strip_prefix(nest)?.strip_prefix(rules[index].prefix)?;
                (!rules[index].foreign.iter().any(|start| own.starts_with(start))).then_some((index, own))
            })
            .max_by_key(|(index, _)| rules[*index].prefix.len());
        let Some((index, own)) = owner else {
            unused.push(tensor.name().to_string());
            continue;
        };
        let name = renamed(own, rules[index]);
        if let Some(other) = models[index].tensors.insert(name.clone(), tensor.clone()) {
            let got = format!("{} and {}", other.name(), tensor.name());
            return Err(Error::file(checkpoint.name(), format!("one tensor for {name}"), got));
        }
    }
    // The input of an upsampler has six channels: the noisy image and the enlarged small image.
    for model in models.iter_mut().filter(|model| model.kind == Kind::Unet) {
        if model.tensors.get("input_blocks.0.0.weight").is_some_and(|first| first.shape().get(1) == Some(&6)) {
            model.kind = Kind::Superres;
        }
    }
    models.sort_by_key(|model| model.part);
    Ok(Recognised { models, unused })
}

/// Returns a tensor's name in percept's model files.
fn renamed(own: &str, rule: &Rule) -> String {
    for (from, to) in rule.renames {
        if let Some(rest) = own.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    match rule.kind {
        Kind::Vit => unchunked(own).unwrap_or_else(|| own.to_string()),
        _ => own.to_string(),
    }
}

/// Removes the number of the chunk from a name of DINOv2: `blocks.2.7.norm1.weight` becomes
/// `blocks.7.norm1.weight`. Returns `None` for other names. Blocks are numbered across chunks.
fn unchunked(own: &str) -> Option<String> {
    let mut parts = own.strip_prefix("blocks.")?.splitn(3, '.');
    let (chunk, block, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(chunk) && is_number(block)).then(|| format!("blocks.{block}.{rest}"))
}

/// Recognises a model file of percept, which can be converted again.
fn percept_model(checkpoint: &Checkpoint, kind: &str) -> Result<Recognised> {
    let (part, kind) = match kind {
        "resnet" => (Part::Trunk, Kind::ResNet),
        "vit" => (Part::Trunk, Kind::Vit),
        "head" => (Part::Head, Kind::Head(None)),
        "unet" => (Part::Decoder, Kind::Unet),
        "superres" => (Part::Decoder, Kind::Superres),
        "classifier" => (Part::Decoder, Kind::Classifier),
        other => {
            return Err(Error::file(checkpoint.name(), "a kind of model that percept knows", format!("{other:?}")));
        }
    };
    let config = checkpoint.metadata().get("percept.config").cloned();
    let tensors = checkpoint.tensors().iter().map(|tensor| (tensor.name().to_string(), tensor.clone())).collect();
    let model = Model { part, kind, place: String::new(), tensors, config };
    Ok(Recognised { models: vec![model], unused: Vec::new() })
}

/// Describes a checkpoint that has no model, as far as its tensors' names tell.
fn seems_to_be(checkpoint: &Checkpoint) -> String {
    let names = || checkpoint.tensors().iter().map(Tensor::name);
    let leaf = |name: &str, leaves: &[&str]| leaves.iter().any(|leaf| name.rsplit('.').next() == Some(leaf));
    let of_optimizer = names().filter(|name| leaf(name, &["exp_avg", "exp_avg_sq", "momentum_buffer", "step"])).count();
    if of_optimizer * 2 > checkpoint.tensors().len() {
        return "the state of an optimizer: the model is in another file, whose name begins with model or ema"
            .to_string();
    }
    let first: Vec<&str> = names().take(3).collect();
    format!("{} tensors such as {}", checkpoint.tensors().len(), first.join(", "))
}
