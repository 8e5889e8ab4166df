//! Dispatches, and the tools that build the kernels' dispatches.

use alloc::vec::Vec;

use percept_shaders::Shader;

use crate::kernels::{Activation, Binding, Half, Kernel};
use crate::tensor::DType;
use crate::{Error, Result};

/// The number of invocations in a workgroup of an elementwise kernel. Most compute one element each.
pub(super) const THREADS: usize = percept_shaders::THREADS as usize;

/// The number of channels in a workgroup whose lanes share pixels.
pub(super) const LANE_CHANNELS: usize = percept_shaders::LANE_CHANNELS as usize;

/// The number of columns in a panel of a matrix: see [`percept_shaders::PANEL`].
pub const PANEL: usize = percept_shaders::PANEL as usize;

/// The maximum number of workgroups in one dimension of a grid, on every device.
pub(super) const MAX_GRID: usize = 65_535;

/// The capabilities of a device that dispatches depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// True if shaders may use native half-precision values. Otherwise, they unpack them from words.
    pub native_f16: bool,
    /// The maximum size of a storage binding, in bytes.
    pub max_binding_bytes: usize,
    /// The maximum size of a buffer, in bytes.
    pub max_buffer_bytes: usize,
}

/// One dispatch of a shader.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The shader.
    pub shader: Shader,
    /// The values of the shader's override constants.
    pub overrides: Vec<(&'static str, f64)>,
    /// The shader's parameters, in 32-bit words.
    pub params: Vec<u32>,
    /// The buffers that it binds.
    pub buffers: Vec<Bound>,
    /// The number of workgroups in each dimension.
    pub grid: [u32; 2],
}

/// A buffer that a dispatch binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The name of the buffer in the shader.
    pub name: &'static str,
    /// The name of the kernel's binding, or [`PARTIALS`].
    pub of: &'static str,
    /// The region that is bound.
    pub region: Region,
}

/// A region of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Region {
    /// The whole buffer.
    Whole,
    /// A range of elements.
    Elements {
        /// The index of the first element.
        first: usize,
        /// The number of elements.
        count: usize,
    },
    /// A part of a weight, by its index: see [`weight_parts`].
    Part(usize),
}

/// The name of the scratch buffer for the partial results of split sums.
pub const PARTIALS: &str = "partials";

impl Dispatch {
    /// Creates a dispatch of `workgroups` workgroups. The grid has two dimensions if there are too many for one. This
    /// also sets the first word of the parameters, `grid_width`.
    pub(super) fn new<P: bytemuck::Pod>(shader: Shader, params: &P, workgroups: usize) -> Self {
        let width = workgroups.min(MAX_GRID);
        let grid = [width as u32, workgroups.div_ceil(width.max(1)) as u32];
        let mut params: Vec<u32> = bytemuck::cast_slice(core::slice::from_ref(params)).to_vec();
        params[0] = grid[0];
        Dispatch { shader, overrides: Vec::new(), params, buffers: Vec::new(), grid }
    }

    /// Binds the whole buffers with these names.
    pub(super) fn bind(self, names: &[&'static str]) -> Self {
        names.iter().fold(self, |dispatch, name| dispatch.bind_as(name, name, Region::Whole))
    }

    /// Binds a region of the kernel's binding `of` under the shader's name for it.
    pub(super) fn bind_as(mut self, name: &'static str, of: &'static str, region: Region) -> Self {
        self.buffers.push(Bound { name, of, region });
        self
    }

    /// Binds the whole buffers that are marked as present. The shader does not read the others, which are bound to
    /// the weight because it is never too small.
    pub(super) fn bind_if(self, names: &[(&'static str, bool)]) -> Self {
        names.iter().fold(self, |dispatch, &(name, present)| match present {
            true => dispatch.bind(&[name]),
            false => dispatch.bind_as(name, "weight", Region::Part(0)),
        })
    }

    /// Renames the kernel's bindings: in each pair, buffers that were bound to the first are bound to the second.
    pub(super) fn renamed(mut self, names: &[(&'static str, &'static str)]) -> Self {
        for bound in &mut self.buffers {
            if let Some((_, of)) = names.iter().find(|(from, _)| *from == bound.of) {
                bound.of = of;
            }
        }
        self
    }

    /// Returns the binding number of each buffer in the shader, and whether the shader writes it.
    ///
    /// # Errors
    /// Returns [`Error::Shader`] if the shader has no such buffer.
    pub fn binding_numbers(&self) -> Result<Vec<(u32, bool)>> {
        let known = self.shader.reflection().map_or(&[][..], |reflection| reflection.bindings);
        let number = |bound: &Bound| {
            let found = known.iter().find(|binding| binding.name == bound.name);
            let found = found.ok_or_else(|| Error::shader(self.shader.label(), "a buffer of its own", bound.name))?;
            Ok((found.number, found.written))
        };
        self.buffers.iter().map(number).collect()
    }

    /// Sets an override constant.
    pub(super) fn set(mut self, name: &'static str, value: u32) -> Self {
        self.overrides.push((name, f64::from(value)));
        self
    }
}

/// Returns the number of an activation in shaders.
pub(super) fn activation(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => percept_shaders::IDENTITY,
        Activation::Relu => percept_shaders::RELU,
        Activation::Silu => percept_shaders::SILU,
        Activation::Gelu => percept_shaders::GELU,
    }
}

/// The types of a kernel's buffers, in binding order. They are those of the values that the buffers hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Types<'a>(pub &'a [DType]);

impl Types<'_> {
    /// Returns the kernel's bindings with these types.
    pub(super) fn bindings(self, kernel: &Kernel) -> Vec<Binding> {
        let bindings = kernel.parameters().bindings().into_iter();
        bindings.zip(self.0).map(|(binding, &dtype)| Binding { dtype, ..binding }).collect()
    }

    /// Returns the kernel's buffers that are stored in half precision.
    pub(super) fn halves(self, kernel: &Kernel) -> Halves {
        let bindings = self.bindings(kernel);
        let any = |half| bindings.iter().any(|binding| (binding.half, binding.dtype) == (Some(half), DType::F16));
        Halves { source: any(Half::Source), result: any(Half::Result), weight: any(Half::Weight) }
    }
}

/// The buffers of a kernel that are stored in half precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Halves {
    pub source: bool,
    pub result: bool,
    pub weight: bool,
}

impl Halves {
    /// Returns the number of loads per `channels` channels, in a kernel that loads one `f32` channel or four
    /// half-precision channels at a time.
    pub(super) fn values(self, channels: usize) -> usize {
        if self.source { channels / 4 } else { channels }
    }

    /// Returns the type of the weight.
    pub(super) fn weight_type(self) -> DType {
        if self.weight { DType::F16 } else { DType::F32 }
    }
}

/// The buffer types and the device that dispatches are built for.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// The buffers that are stored in half precision.
    pub halves: Halves,
    /// The capabilities of the device.
    pub capabilities: &'a Capabilities,
}

/// Returns the number of elements of the scratch buffer that these dispatches need.
pub(in crate::device::gpu) fn partials_elements(dispatches: &[Dispatch]) -> usize {
    let partials = dispatches.iter().flat_map(|dispatch| &dispatch.buffers).filter(|bound| bound.of == PARTIALS);
    let ends =
        partials.map(|bound| if let Region::Elements { first, count } = bound.region { first + count } else { 0 });
    ends.max().unwrap_or(0)
}

/// Makes the shaders use native half-precision values, if the device supports them.
pub(super) fn native(dispatches: &mut [Dispatch], capabilities: &Capabilities) {
    for Dispatch { shader, .. } in dispatches {
        if capabilities.native_f16 && ["half", "half_out"].iter().any(|flag| shader.flags.contains(flag)) {
            shader.flags.insert("f16");
        }
    }
}

/// Returns the columns of each part of a matrix of this size, split so that each part fits in a binding. All parts
/// but the last have the same number of columns, a multiple of [`PANEL`].
pub fn weight_parts(
    depth: usize,
    columns: usize,
    dtype: DType,
    capabilities: &Capabilities,
) -> Vec<core::ops::Range<usize>> {
    let panel_bytes = depth * PANEL * dtype.bytes();
    let panels = (capabilities.max_binding_bytes / panel_bytes).max(1);
    let step = panels * PANEL;
    (0..columns.div_ceil(step)).map(|part| part * step..((part + 1) * step).min(columns)).collect()
}
