//! Ops whose buffers are larger than a binding may be: run in parts, a few samples at a time.

use super::strips::by_lines;
use super::{Bound, Dispatch, Profile, Region, Types, whole};
use crate::kernels::{Binding, Kernel, Samples};
use crate::{Error, Result};

/// Elements of a buffer between two places where a binding may begin: 256 bytes, on every device.
pub(super) fn alignment(binding: &Binding) -> usize {
    256 / binding.dtype.bytes()
}

/// The dispatches of a kernel of which a buffer is too large for a binding: those of the same kernel for fewer samples,
/// each bound to its part of the buffers; or of lines, where a single sample is too large.
///
/// # Errors
/// [`Error::OutOfMemory`] where a part is too large, or the parts cannot begin where a binding may.
pub(super) fn by_samples(kernel: &Kernel, types: Types<'_>, profile: &Profile) -> Result<Vec<Dispatch>> {
    let bindings = types.bindings(kernel);
    let refused = || too_large(kernel, types, "one sample", profile);

    let Samples { count: batch, elements: per_sample } = kernel.samples().ok_or_else(refused)?;
    let elements = || bindings.iter().zip(&per_sample).filter_map(|(binding, one)| Some((binding, (*one)?)));
    let step_of = |(binding, n)| alignment(binding) / gcd(n, alignment(binding));
    let step = elements().map(step_of).max().unwrap_or(1);
    let bytes = elements().map(|(binding, n)| n * binding.dtype.bytes()).max();
    let fitting = profile.max_binding_bytes / bytes.unwrap_or(1).max(1);
    let samples = fitting / step * step;
    if samples == 0 {
        return by_lines(kernel, types, profile);
    }

    let mut dispatches = Vec::new();
    for first in (0..batch).step_by(samples) {
        let count = samples.min(batch - first);
        let (_, part) = kernel.with_batch(count).ok_or_else(refused)?;
        for mut dispatch in whole(&part, types, profile)? {
            for bound in &mut dispatch.buffers {
                narrow(bound, &bindings, &per_sample, first, count);
            }
            dispatches.push(dispatch);
        }
    }
    Ok(dispatches)
}

/// The error of a kernel of which not even a part of one buffer fits a binding.
pub(super) fn too_large(kernel: &Kernel, types: Types<'_>, part: &str, profile: &Profile) -> Error {
    let bindings = types.bindings(kernel);
    let over = |b: &&Binding| b.name != "weight" && b.bytes() > profile.max_binding_bytes;
    let shape = |b: &Binding| format!("{:?} {}", b.dtype, b.shape).to_lowercase();
    let [name, shape] = bindings.iter().find(over).map_or(Default::default(), |b| [b.name.into(), shape(b)]);
    let expected = format!("{part} in at most {} bytes, a binding's limit", profile.max_binding_bytes);
    Error::out_of_memory(format!("{} ({name})", kernel.parameters().name()), expected, shape)
}

/// Binds the part of so many samples from one on.
fn narrow(bound: &mut Bound, bindings: &[Binding], per_sample: &[Option<usize>], first: usize, count: usize) {
    let place = bindings.iter().position(|binding| binding.name == bound.of);
    if let (Some(elements), Region::Whole) = (place.and_then(|place| per_sample[place]), &bound.region) {
        bound.region = Region::Elements { first: first * elements, count: count * elements };
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
