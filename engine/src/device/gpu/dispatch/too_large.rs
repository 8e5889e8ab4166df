//! The binding limits.

use super::shared::{Capabilities, Types};
use crate::Error;
use crate::kernels::{Binding, Kernel};

/// Returns the alignment of a binding's start, in elements: 256 bytes, on every device.
pub(super) fn alignment(binding: &Binding) -> usize {
    256 / binding.dtype.bytes()
}

/// Returns the error for a kernel with a buffer of which not even a part fits in a binding.
pub(super) fn too_large(kernel: &Kernel, types: Types<'_>, part: &str, capabilities: &Capabilities) -> Error {
    let bindings = types.bindings(kernel);
    let over = |b: &&Binding| b.name != "weight" && b.bytes() > capabilities.max_binding_bytes;
    let shape = |b: &Binding| format!("{:?} {}", b.dtype, b.shape).to_lowercase();
    let [name, shape] = bindings.iter().find(over).map_or(Default::default(), |b| [b.name.into(), shape(b)]);
    let expected = format!("{part} in at most {} bytes, a binding's limit", capabilities.max_binding_bytes);
    Error::out_of_memory(format!("{} ({name})", kernel.name()), expected, shape)
}
