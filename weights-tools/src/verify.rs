//! Verifies that a model file is intact and runs, and compares the tensors of two files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use percept::Device;
use percept::check::Network;
use percept::device::Executor;
use percept::weights::OpenModel;
use percept::weights::{WeightSource, to_f32};
use percept::{Error, Result};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::recognise::recognise;
use crate::text::{hex, printable};

/// The result of verifying a model file.
pub struct Verified {
    /// The number of tensors whose bytes have the SHA-256 that the metadata states.
    pub hashed: usize,
    /// The number of all tensors. Files made by other tools have no hashes in their metadata.
    pub tensors: usize,
    /// The outputs of a run on made-up inputs, each with its largest absolute value.
    pub outputs: Vec<(String, f32)>,
}

/// Verifies that a model file is complete, that each tensor has the bytes that were written, that the tensors fit
/// the configuration, and that the model runs on the CPU and gives finite numbers.
///
/// # Errors
/// Returns an error that names the file and the tensor or output if one of these checks fails.
pub fn file(path: &Path) -> Result<Verified> {
    let name = path.display().to_string();
    let model = OpenModel::open(path)?;
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

/// Returns an output's name and its largest absolute value.
fn largest(executor: &mut dyn Executor, output: &str) -> Result<(String, f32)> {
    let values = executor.read(output)?;
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::not_finite(output, "finite numbers", format!("{} at {place}", values[place])));
    }
    Ok((output.to_string(), values.iter().fold(0.0, |largest, value| largest.max(value.abs()))))
}

/// The differences between two files.
#[derive(Default)]
pub struct Comparison {
    /// The tensors that both files have in the same shape: name, relative error |b - a| / |a|, and largest
    /// difference.
    pub compared: Vec<(String, f64, f64)>,
    /// Messages about tensors that are in one file only, or have different shapes.
    pub different: Vec<String>,
}

/// Compares two files tensor by tensor.
///
/// If one is a checkpoint and the other a model file, the checkpoint's tensors get the names of the model file,
/// and tensors that do not belong to the model are left out.
///
/// # Errors
/// Returns [`Error::File`] if a file cannot be read.
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

/// Returns a file's tensors, under the names that they have in `other` if that is a model file and this is not.
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

/// Returns the relative error and the largest difference of two tensors of one shape. Identical bytes count as
/// equal. In other bytes, NaN equals nothing.
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
            // An infinity that both tensors share would hide their other differences, so the norm leaves it out.
            norm += if x.is_finite() { f64::from(x) * f64::from(x) } else { 0.0 };
        }
    }
    let relative = if norm == 0.0 { squares.sqrt() } else { (squares / norm).sqrt() };
    Ok((relative, largest))
}
