//! A model's view of its weights: names with a prefix, every shape checked, every tensor accounted for.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use super::WeightSource;
use crate::error::{Mismatch, WeightsReport};
use crate::{Error, Result, Shape};

/// Tensors that checkpoints carry and inference has no use for.
const UNUSED: [&str; 3] = ["num_batches_tracked", "sv0", "accumulation_counter"];

/// The most pairs of a missing and an unexpected name of which the nearest are looked for: a checkpoint of a student beside a
/// teacher has a tenth of it.
const MAX_COMPARED: usize = 1 << 20;

/// The tensors of a model, and what has been found wrong with them.
pub struct Checkpoint<'a> {
    source: &'a dyn WeightSource,
    found: RefCell<Found>,
}

/// The names and shapes of the tensors that a model asks for, in any checkpoint of its configuration.
/// Parts that a checkpoint may lack (a ResNet's `fc`, the batch norms of DINO's head) are left out.
///
/// # Errors
/// As `model` does, which adds a model's layers to a graph.
pub fn tensors_of(model: impl FnOnce(&Scope<'_>) -> Result<()>) -> Result<BTreeMap<String, Shape>> {
    let checkpoint = Checkpoint::new(&Nothing);
    model(&checkpoint.root())?;
    Ok(checkpoint.found.into_inner().asked)
}

/// A checkpoint without a tensor.
struct Nothing;

impl WeightSource for Nothing {
    fn name(&self) -> &str {
        "no checkpoint"
    }

    fn tensors(&self) -> Vec<String> {
        Vec::new()
    }

    fn shape(&self, _tensor: &str) -> Option<Shape> {
        None
    }

    fn read(&self, tensor: &str, _out: &mut [f32]) -> Result<()> {
        Err(Error::file(self.name(), tensor, "none"))
    }
}

#[derive(Default)]
struct Found {
    asked: BTreeMap<String, Shape>,
    ignored_prefixes: Vec<String>,
    missing: Vec<String>,
    misshaped: Vec<Mismatch>,
}

impl<'a> Checkpoint<'a> {
    /// Begins with nothing asked for.
    pub fn new(source: &'a dyn WeightSource) -> Self {
        Checkpoint { source, found: RefCell::default() }
    }

    /// All tensors.
    pub fn root(&self) -> Scope<'_> {
        Scope { checkpoint: self, prefix: String::new() }
    }

    /// Ends the account: every tensor asked for was there, in its shape, and no other. Gives their names.
    ///
    /// # Errors
    /// [`Error::Weights`] with all that is wrong.
    pub fn finish(self, model: &str) -> Result<Vec<String>> {
        let found = self.found.into_inner();
        let is_unused = |name: &str| {
            UNUSED.iter().any(|unused| name.rsplit('.').next() == Some(unused))
                || found.ignored_prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
        };
        let unexpected: Vec<String> = self
            .source
            .tensors()
            .into_iter()
            .filter(|name| !found.asked.contains_key(name) && !is_unused(name))
            .collect();
        let is_quick = found.missing.len().saturating_mul(unexpected.len()) <= MAX_COMPARED;
        let missing = found.missing.into_iter().map(|name| {
            // A third of a name may differ, so that most need no closer look.
            let is_near = |distance: usize| distance * 3 <= name.len();
            let candidates = unexpected.iter().filter(|other| is_quick && is_near(other.len().abs_diff(name.len())));
            let nearest =
                candidates.map(|other| (edit_distance(&name, other), other)).min_by_key(|(distance, _)| *distance);
            let near = nearest.filter(|(distance, _)| is_near(*distance)).map(|(_, other)| other.clone());
            (name.clone(), near)
        });
        let mut matched: Vec<String> = found.asked.into_keys().collect();
        matched.retain(|name| {
            let is_wrong = |wrong: &Mismatch| wrong.at == *name;
            self.source.shape(name).is_some() && !found.misshaped.iter().any(is_wrong)
        });
        let report = WeightsReport {
            model: alloc::format!("{} as {model}", self.source.name()),
            matched,
            missing: missing.collect(),
            misshaped: found.misshaped,
            unexpected: unexpected.clone(),
        };
        if report.is_clean() { Ok(report.matched) } else { Err(Error::Weights(report)) }
    }
}

/// The tensors under one prefix.
#[derive(Clone)]
pub struct Scope<'a> {
    checkpoint: &'a Checkpoint<'a>,
    prefix: String,
}

impl Scope<'_> {
    /// The tensors under a longer prefix: `scope.at("layer1.0").at("conv1")`.
    pub fn at(&self, name: impl core::fmt::Display) -> Self {
        Scope { checkpoint: self.checkpoint, prefix: self.name(name) }
    }

    /// The full name of a tensor in this scope.
    pub fn name(&self, leaf: impl core::fmt::Display) -> String {
        if self.prefix.is_empty() { leaf.to_string() } else { alloc::format!("{}.{leaf}", self.prefix) }
    }

    /// The prefix: the layer's name.
    pub fn layer(&self) -> &str {
        &self.prefix
    }

    /// Whether there is such a tensor. Does not count as asking for it.
    pub fn has(&self, leaf: &str) -> bool {
        self.checkpoint.source.shape(&self.name(leaf)).is_some()
    }

    /// Says that tensors whose full name begins with that of `leaf` are of no use here.
    pub fn ignore(&self, leaf: &str) {
        self.checkpoint.found.borrow_mut().ignored_prefixes.push(self.name(leaf));
    }

    /// Asks for a tensor of a shape and gives its full name. What is wrong is kept for
    /// [`Checkpoint::finish`], so that all of it can be told at once.
    pub fn tensor(&self, leaf: &str, shape: &[usize]) -> String {
        let name = self.name(leaf);
        let mut found = self.checkpoint.found.borrow_mut();
        match self.checkpoint.source.shape(&name) {
            None => found.missing.push(name.clone()),
            Some(got) if *got != *shape => found.misshaped.push(Mismatch {
                at: name.clone(),
                expected: alloc::format!("{shape:?}"),
                got: got.to_string(),
            }),
            Some(_) => {}
        }
        // More dimensions than a shape has do not come up: models ask for four at most.
        found.asked.insert(name.clone(), Shape::new(shape).unwrap_or(Shape::from([])));
        name
    }

    /// The shape of a tensor, where a part of the configuration has to be read off it.
    ///
    /// # Errors
    /// [`Error::Weights`] where it is missing.
    pub fn shape(&self, leaf: &str) -> Result<Shape> {
        let name = self.name(leaf);
        self.checkpoint.source.shape(&name).ok_or_else(|| {
            Error::Weights(WeightsReport {
                model: self.checkpoint.source.name().to_string(),
                missing: Vec::from([(name, None)]),
                ..WeightsReport::default()
            })
        })
    }
}

/// Levenshtein's distance: insertions, deletions and replacements from one name to the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::edit_distance;

    #[test]
    fn edit_distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("layer1.0.conv1", "layer1.0.conv1"), 0);
    }
}
