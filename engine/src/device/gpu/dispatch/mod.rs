//! Lowers kernels to dispatches: the shader variant, its parameters, the buffers that it binds and the grid.
//! Dispatches are plain data, and nothing in this module touches a device.

mod lines;
mod shared;
mod split;
mod strip;
mod tiles;
mod too_large;

use alloc::vec::Vec;

pub(super) use shared::partials_elements;
pub use shared::{Bound, Capabilities, Dispatch, PANEL, PARTIALS, Region, weight_parts};
use shared::{Target, Types, native};

use crate::for_each_kernel;
use crate::kernels::{Binding, Kernel};
use crate::tensor::DType;
use crate::{Error, Result};

macro_rules! dispatches {
    ($($(#[$doc:meta])* $kernel:ident: $module:ident,)*) => {
        $(mod $module;)*

        /// Returns the dispatches of a kernel whose buffers all fit in a binding, except for the weight, which is
        /// split.
        fn whole(kernel: &Kernel, types: Types<'_>, capabilities: &Capabilities) -> Vec<Dispatch> {
            let target = Target { halves: types.halves(kernel), capabilities };
            let mut dispatches = match kernel {
                $(Kernel::$kernel(p) => $module::dispatches(p, target),)*
            };
            native(&mut dispatches, capabilities);
            dispatches
        }
    };
}

for_each_kernel!(dispatches);

/// Lowers a kernel to GPU dispatches, in order, splitting buffers that exceed the binding limit. The buffers have the
/// types of `bindings`.
///
/// # Errors
/// Returns [`Error::OutOfMemory`] if not even a part of a buffer fits in a binding.
pub fn dispatches(kernel: &Kernel, bindings: &[Binding], capabilities: &Capabilities) -> Result<Vec<Dispatch>> {
    let fits = |bytes: usize| bytes <= capabilities.max_binding_bytes;
    let types: Vec<DType> = bindings.iter().map(|binding| binding.dtype).collect();
    let types = Types(&types);
    let is_weight = |binding: &&Binding| binding.name == "weight";
    let panel_bytes = |weight: &Binding| weight.shape[0] * PANEL * weight.dtype.bytes();
    if let Some(weight) = bindings.iter().find(is_weight).filter(|weight| !fits(panel_bytes(weight))) {
        let expected =
            format!("{PANEL} columns in at most {} bytes, a binding's limit", capabilities.max_binding_bytes);
        return Err(Error::out_of_memory("weight", expected, weight.shape));
    }
    if bindings.iter().any(|binding| !is_weight(&binding) && !fits(binding.bytes())) {
        return split::by_samples(kernel, types, capabilities, whole);
    }
    Ok(whole(kernel, types, capabilities))
}
