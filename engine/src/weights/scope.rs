//! A model's view of its weights, with prefixed names. Every shape is checked and every tensor accounted for.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use super::WeightSource;
use crate::error::{Mismatch, WeightsReport};
use crate::{Error, Result, Shape};

/// Tensors that checkpoints contain but inference does not use.
const UNUSED: [&str; 3] = ["num_batches_tracked", "sv0", "accumulation_counter"];

/// The maximum number of pairs of a missing and an unexpected name. If there are more, similar names are not searched
/// for. A checkpoint that holds a student and a teacher has a tenth of it.
const MAX_COMPARED: usize = 1 << 20;

/// The tensors of a model and the problems found so far.
pub struct Checkpoint<'a> {
    source: &'a dyn WeightSource,
    found: RefCell<Found>,
}

/// Returns the names and shapes of the tensors that a model reads from any checkpoint of its configuration.
/// Optional parts (a ResNet's `fc`, the batch norms of DINO's head) are left out.
///
/// `model` adds the model's layers to a graph.
///
/// # Errors
/// Returns the errors of `model`.
pub fn tensors_of(model: impl FnOnce(&Scope<'_>) -> Result<()>) -> Result<BTreeMap<String, Shape>> {
    let checkpoint = Checkpoint::new(&Nothing);
    model(&checkpoint.root())?;
    Ok(checkpoint.found.into_inner().asked)
}

/// A checkpoint without tensors.
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
    /// Creates a checkpoint from which no tensor has been requested yet.
    pub fn new(source: &'a dyn WeightSource) -> Self {
        Checkpoint { source, found: RefCell::default() }
    }

    /// Returns the scope of all tensors.
    pub fn root(&self) -> Scope<'_> {
        Scope { checkpoint: self, prefix: String::new() }
    }

    /// Checks that every requested tensor exists with the requested shape, and that there are no other
    /// tensors except ignored ones. Returns the names of the requested tensors.
    ///
    /// # Errors
    /// Returns [`Error::Weights`], which lists all problems, if the check fails.
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
            // Similar names differ in at most a third of their characters, so the length rules out most candidates.
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

/// The tensors whose names begin with one prefix.
#[derive(Clone)]
pub struct Scope<'a> {
    checkpoint: &'a Checkpoint<'a>,
    prefix: String,
}

impl Scope<'_> {
    /// Returns the scope with `name` appended to the prefix: `scope.at("layer1.0").at("conv1")`.
    pub fn at(&self, name: impl core::fmt::Display) -> Self {
        Scope { checkpoint: self.checkpoint, prefix: self.name(name) }
    }

    /// Returns the full name of a tensor in this scope.
    pub fn name(&self, leaf: impl core::fmt::Display) -> String {
        if self.prefix.is_empty() { leaf.to_string() } else { alloc::format!("{}.{leaf}", self.prefix) }
    }

    /// Returns the prefix, which is the name of the layer.
    pub fn layer(&self) -> &str {
        &self.prefix
    }

    /// Returns true if the tensor exists. This does not request it.
    pub fn has(&self, leaf: &str) -> bool {
        self.checkpoint.source.shape(&self.name(leaf)).is_some()
    }

    /// Ignores tensors whose full name begins with the full name of `leaf`: they are not reported as unexpected.
    pub fn ignore(&self, leaf: &str) {
        self.checkpoint.found.borrow_mut().ignored_prefixes.push(self.name(leaf));
    }

    /// Requests a tensor of a shape and returns its full name. [`Checkpoint::finish`] reports all problems at
    /// once.
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
        // Models request at most four dimensions, so the shape is always valid.
        found.asked.insert(name.clone(), Shape::new(shape).unwrap_or(Shape::from([])));
        name
    }

    /// Returns the shape of a tensor, for models whose configuration depends on it.
    ///
    /// # Errors
    /// Returns [`Error::Weights`] if the tensor is missing.
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

/// Returns the Levenshtein distance: the number of insertions, deletions and replacements from one name to the other.
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
