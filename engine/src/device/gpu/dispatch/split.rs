//! Ops with buffers that exceed the binding limit, which run in parts of a few samples each.

use super::lines::by_lines;
use super::shared::{Bound, Capabilities, Dispatch, Region, Types};
use super::too_large::{alignment, too_large};
use crate::Result;
use crate::kernels::{Binding, Kernel, Samples};

/// Returns the dispatches of a kernel with a buffer that exceeds the binding limit. Each part runs the same kernel on
/// fewer samples, bound to its part of the buffers. If a single sample does not fit, the parts are strips of lines.
/// `whole` returns the dispatches of a part.
///
/// # Errors
/// Returns [`Error::OutOfMemory`](crate::Error::OutOfMemory) if a part is too large, or if parts do not start at
/// offsets where a binding may begin.
pub(super) fn by_samples(
    kernel: &Kernel,
    types: Types<'_>,
    capabilities: &Capabilities,
    whole: fn(&Kernel, Types<'_>, &Capabilities) -> Vec<Dispatch>,
) -> Result<Vec<Dispatch>> {
    let bindings = types.bindings(kernel);
    let refused = || too_large(kernel, types, "one sample", capabilities);

    let Samples { count: batch, elements: per_sample } = kernel.samples().ok_or_else(refused)?;
    let elements = || bindings.iter().zip(&per_sample).filter_map(|(binding, one)| Some((binding, (*one)?)));
    let step_of = |(binding, n)| alignment(binding) / gcd(n, alignment(binding));
    let step = elements().map(step_of).max().unwrap_or(1);
    let bytes = elements().map(|(binding, n)| n * binding.dtype.bytes()).max();
    let fitting = capabilities.max_binding_bytes / bytes.unwrap_or(1).max(1);
    let samples = fitting / step * step;
    if samples == 0 {
        return by_lines(kernel, types, capabilities);
    }

    let mut dispatches = Vec::new();
    for first in (0..batch).step_by(samples) {
        let count = samples.min(batch - first);
        let (_, part) = kernel.parameters().with_batch(count).ok_or_else(refused)?;
        for mut dispatch in whole(&part, types, capabilities) {
            for bound in &mut dispatch.buffers {
                narrow(bound, &bindings, &per_sample, first, count);
            }
            dispatches.push(dispatch);
        }
    }
    Ok(dispatches)
}

/// Restricts a bound buffer to `count` samples, starting at sample `first`.
fn narrow(bound: &mut Bound, bindings: &[Binding], per_sample: &[Option<usize>], first: usize, count: usize) {
    let place = bindings.iter().position(|binding| binding.name == bound.of);
    if let (Some(elements), Region::Whole) = (place.and_then(|place| per_sample[place]), &bound.region) {
        bound.region = Region::Elements { first: first * elements, count: count * elements };
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
