//! Whether a model file is whole and runs, and whether two files hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use percept::check::Network;
use percept::pipeline::{Device, open_model};
use percept::program::Executor;
use percept::weights::{WeightSource, to_f32};
use percept::{Error, Result};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::inspect::printable;
use crate::model_file::hex;
use crate::recognise::recognise;

/// What was found about a model file.
pub struct Verified {
    /// Tensors whose bytes have the SHA-256 that the metadata says.
    pub hashed: usize,
    /// Tensors in all; the metadata of a file that another tool made has no hashes.
    pub tensors: usize,
    /// Each output of a run on made-up inputs, and its largest element without the sign.
    pub outputs: Vec<(String, f32)>,
}

/// Verifies that a model file is whole, that each tensor's bytes are those that were written, that its tensors are those of
/// its configuration, and that it runs on the CPU and gives finite numbers.
///
/// # Errors
/// Where one of that is not so: with the file, and the tensor or output.
pub fn file(path: &Path) -> Result<Verified> {
    let name = path.display().to_string();
    let model = open_model(path)?;
    let hashes: BTreeMap<String, String> = match model.metadata("percept.sha256") {
        Some(json) => serde_json::from_str(json)
            .map_err(|error| Error::file(&name, "a JSON object of hashes in percept.sha256", error))?,
        None => BTreeMap::new(),
    };
    let tensors = model.tensors();
    for (tensor, expected) in &hashes {
        let got = hex(&Sha256::digest(model.raw(tensor)?.1));
        if got != *expected {
            let at = format!("{name}: {}", printable(tensor));
            return Err(Error::file(at, format!("bytes of SHA-256 {expected}"), got));
        }
    }
    if let Some(unhashed) = tensors.iter().find(|tensor| !hashes.is_empty() && !hashes.contains_key(*tensor)) {
        return Err(Error::file(&name, "a SHA-256 of every tensor", format!("none of {}", printable(unhashed))));
    }

    let network = Network::open(path, None)?;
    let program = Arc::new(network.program(1)?);
    let mut executor = Device::cpu()?.load(program.clone(), network.weights())?;
    network.write_inputs(executor.as_mut())?;
    executor.run(program.body())?;
    let outputs = program.outputs().iter().map(|(output, _)| largest(executor.as_mut(), output));
    let outputs = outputs.collect::<Result<_>>().map_err(|error| error.within(&name))?;
    Ok(Verified { hashed: hashes.len(), tensors: tensors.len(), outputs })
}

/// An output's largest element without the sign.
fn largest(executor: &mut dyn Executor, output: &str) -> Result<(String, f32)> {
    let values = executor.read(output)?;
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::not_finite(output, "finite numbers", format!("{} at {place}", values[place])));
    }
    Ok((output.to_string(), values.iter().fold(0.0, |largest, value| largest.max(value.abs()))))
}

/// How two files differ.
#[derive(Default)]
pub struct Comparison {
    /// Tensors of both, of one shape: name, relative error |b - a| / |a| and largest difference.
    pub compared: Vec<(String, f64, f64)>,
    /// What is only in one, or has another shape: for people.
    pub different: Vec<String>,
}

/// Compares two files tensor by tensor. Where one is a checkpoint and the other a model file, the checkpoint's tensors go by
/// the names that the model file has, and those that are no part of the model are left out.
///
/// # Errors
/// [`Error::File`] where one cannot be read.
pub fn compare(a: &Path, b: &Path) -> Result<Comparison> {
    let (a, b) = (Checkpoint::open(a)?, Checkpoint::open(b)?);
    let (of_a, of_b) = (named(&a, &b), named(&b, &a));
    let mut comparison = Comparison::default();
    for (name, tensor) in &of_a {
        match of_b.get(name) {
            None => comparison.different.push(format!("{} is only in {}", printable(name), a.name())),
            Some(other) if other.shape() != tensor.shape() => comparison.different.push(format!(
                "{}: {:?} in {}, {:?} in {}",
                printable(name),
                tensor.shape(),
                a.name(),
                other.shape(),
                b.name()
            )),
            Some(other) => {
                let (relative, largest) = difference(tensor, other)?;
                comparison.compared.push((name.clone(), relative, largest));
            }
        }
    }
    for name in of_b.keys().filter(|name| !of_a.contains_key(*name)) {
        comparison.different.push(format!("{} is only in {}", printable(name), b.name()));
    }
    Ok(comparison)
}

/// A file's tensors under the names that they have in `other`, if that is a model file and this is not.
fn named(file: &Checkpoint, other: &Checkpoint) -> BTreeMap<String, Tensor> {
    let kind = |file: &Checkpoint| file.metadata().get("percept.kind").cloned();
    let own = || file.tensors().iter().map(|tensor| (tensor.name().to_string(), tensor.clone())).collect();
    let (None, Some(kind)) = (kind(file), kind(other)) else { return own() };
    let models = recognise(file).map(|recognised| recognised.models).unwrap_or_default();
    match models.into_iter().find(|model| model.kind.name() == kind) {
        Some(mut model) => {
            crate::folding::fold(&mut model.tensors);
            let wanted: BTreeSet<&str> = other.tensors().iter().map(Tensor::name).collect();
            model.tensors.retain(|name, _| wanted.contains(name.as_str()));
            model.tensors
        }
        None => own(),
    }
}

/// Relative error and largest difference of two tensors of one shape. The same bytes are the same; beside other bytes NaN is equal
/// to nothing.
fn difference(a: &Tensor, b: &Tensor) -> Result<(f64, f64)> {
    let (a_bytes, b_bytes) = (a.read()?, b.read()?);
    let width = |tensor: &Tensor| tensor.dtype().bitsize().div_ceil(8).max(1);
    if a.dtype() == b.dtype() && a_bytes == b_bytes {
        return Ok((0.0, 0.0));
    }
    const CHUNK: usize = 1 << 16;
    let (mut squares, mut norm, mut largest) = (0.0f64, 0.0f64, 0.0f64);
    let (mut x, mut y) = (vec![0.0; CHUNK], vec![0.0; CHUNK]);
    for (a_chunk, b_chunk) in a_bytes.chunks(CHUNK * width(a)).zip(b_bytes.chunks(CHUNK * width(b))) {
        let count = a_chunk.len() / width(a);
        to_f32(a.dtype(), a_chunk, &mut x[..count]).map_err(|error| error.within(a.name()))?;
        to_f32(b.dtype(), b_chunk, &mut y[..count]).map_err(|error| error.within(b.name()))?;
        for (&x, &y) in x[..count].iter().zip(&y[..count]) {
            let difference = f64::from(y) - f64::from(x);
            if x != y {
                if !difference.is_finite() {
                    return Ok((f64::INFINITY, f64::INFINITY));
                }
                largest = largest.max(difference.abs());
                squares += difference * difference;
            }
            // Infinities that both have are no measure for what else differs.
            norm += if x.is_finite() { f64::from(x) * f64::from(x) } else { 0.0 };
        }
    }
    let relative = if norm == 0.0 { squares.sqrt() } else { (squares / norm).sqrt() };
    Ok((relative, largest))
}
