//! From a kernel's parameters to what a GPU is told: which shader, in which variant, with which
//! parameters, on which grid. Plain data; nothing here touches a device.

mod advance;
mod attention;
mod avg_pool;
mod channel_stats;
mod concat;
mod conv;
mod ddim_step;
mod ddpm_step;
mod dense;
mod embedding;
mod film_affine;
mod group_affine;
mod layer_norm;
mod max_pool;
mod noise;
mod not_finite;
mod resize_bilinear;
mod split;
mod strips;
mod tiles;
mod to_rgba8;
mod tokens;

use alloc::vec::Vec;

use percept_shaders::Shader;

use crate::kernels::{Activation, Binding, Half, Kernel};
use crate::tensor::DType;
use crate::{Error, Result};

/// Invocations of a workgroup of an elementwise kernel: of most, then, an element each.
const THREADS: usize = 256;

/// Channels of a workgroup whose lanes share pixels: `CHANNELS` in `shared/lanes.wgsl`.
const LANE_CHANNELS: usize = 32;

/// The most workgroups of a grid in one dimension, on every device.
const MAX_GRID: usize = 65_535;

/// The kernels whose shaders are created without the checks that wgpu otherwise adds (bounds of every access, ends of
/// every loop, zeroed workgroup memory), which make some of them several times slower.
///
/// The rule: a kernel stands here if its cases pass with guard zones after every buffer and every buffer poisoned
/// (`tests/kernels/devices.rs` runs all of them so).
pub const TRUSTED: &[&str] = &[
    "advance",
    "attention",
    "avg_pool",
    "channel_stats",
    "concat",
    "conv",
    "ddim_step",
    "ddpm_step",
    "dense",
    "embedding",
    "film_affine",
    "group_affine",
    "layer_norm",
    "max_pool",
    "noise",
    "not_finite",
    "resize_bilinear",
    "to_rgba8",
    "tokens",
];

/// What the choice of tiles depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether the adapter is a CPU that plays a GPU.
    pub software: bool,
    /// Whether shaders may have subgroups, of at least 8 invocations, and are faster for it: on software.
    pub subgroups: bool,
    /// Whether shaders may hold values of half precision as such; without, they unpack them from words.
    pub native_f16: bool,
    /// The most bytes of a storage binding.
    pub max_binding_bytes: usize,
    /// The most bytes of a buffer.
    pub max_buffer_bytes: usize,
}

/// One dispatch of a shader.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The shader.
    pub shader: Shader,
    /// Values of its override constants.
    pub overrides: Vec<(&'static str, f64)>,
    /// Its parameters, as words.
    pub params: Vec<u32>,
    /// The buffers it binds.
    pub buffers: Vec<Bound>,
    /// Workgroups.
    pub grid: [u32; 2],
}

/// A buffer that a dispatch binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What the shader calls it.
    pub name: &'static str,
    /// The name of the kernel's binding, or [`PARTIALS`].
    pub of: &'static str,
    /// What of it is bound.
    pub region: Region,
}

/// What of a buffer is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Region {
    /// All of it.
    Whole,
    /// So many elements from an element on.
    Elements {
        /// The first.
        first: usize,
        /// How many.
        count: usize,
    },
    /// A part of a weight, by its number: see [`weight_parts`].
    Part(usize),
}

/// The name of the scratch buffer in which the parts of a split sum lie.
pub const PARTIALS: &str = "partials";

impl Dispatch {
    /// A dispatch of so many workgroups. The grid has two dimensions where they are too many for one; the
    /// first word of the parameters, `grid_width`, is set here.
    fn new<P: bytemuck::Pod>(shader: Shader, params: &P, workgroups: usize) -> Self {
        let width = workgroups.min(MAX_GRID);
        let grid = [width as u32, workgroups.div_ceil(width.max(1)) as u32];
        let mut params: Vec<u32> = bytemuck::cast_slice(core::slice::from_ref(params)).to_vec();
        params[0] = grid[0];
        Dispatch { shader, overrides: Vec::new(), params, buffers: Vec::new(), grid }
    }

    /// Binds the whole buffers of these names.
    fn bind(self, names: &[&'static str]) -> Self {
        names.iter().fold(self, |dispatch, name| dispatch.bind_as(name, name, Region::Whole))
    }

    /// Binds, under the name that the shader has for it, a region of the kernel's binding `of`.
    fn bind_as(mut self, name: &'static str, of: &'static str, region: Region) -> Self {
        self.buffers.push(Bound { name, of, region });
        self
    }

    /// Binds the whole buffers of those of these names that are present. A shader that is told so does not read
    /// the others; they are bound to the weight, which is never too small.
    fn bind_if(self, names: &[(&'static str, bool)]) -> Self {
        names.iter().fold(self, |dispatch, &(name, present)| match present {
            true => dispatch.bind(&[name]),
            false => dispatch.bind_as(name, "weight", Region::Part(0)),
        })
    }

    /// The same with other bindings of the kernel: for each pair, what was bound to the first's buffer is bound
    /// to the second's.
    fn renamed(mut self, names: &[(&'static str, &'static str)]) -> Self {
        for bound in &mut self.buffers {
            if let Some((_, of)) = names.iter().find(|(from, _)| *from == bound.of) {
                bound.of = of;
            }
        }
        self
    }

    /// The numbers that the shader gives to the buffers, in their order, and which of them it writes.
    ///
    /// # Errors
    /// [`Error::Shader`] where the shader has no such buffer.
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
    fn set(mut self, name: &'static str, value: u32) -> Self {
        self.overrides.push((name, f64::from(value)));
        self
    }
}

/// The layout of a kernel's parameters on this side.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The kernel.
    pub kernel: &'static str,
    /// Name, type and offset of each field.
    pub fields: &'static [(&'static str, &'static str, usize)],
    /// Bytes.
    pub size: usize,
}

/// Declares a kernel's parameters as its shader reads them, and their layout.
macro_rules! params {
    ($kernel:literal: $($(#[$doc:meta])* $field:ident: $kind:ident,)*) => {
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
        struct Params {
            $($(#[$doc])* $field: $kind,)*
        }

        /// The layout of the parameters.
        pub(super) const LAYOUT: super::Layout = super::Layout {
            kernel: $kernel,
            fields: &[$((stringify!($field), stringify!($kind), core::mem::offset_of!(Params, $field)),)*],
            size: size_of::<Params>(),
        };
    };
}
use params;

/// The layouts of all kernels' parameters, to be compared with those that the shaders have.
pub fn layouts() -> Vec<Layout> {
    Vec::from([
        advance::LAYOUT,
        attention::LAYOUT,
        avg_pool::LAYOUT,
        channel_stats::LAYOUT,
        concat::LAYOUT,
        conv::LAYOUT,
        ddim_step::LAYOUT,
        ddpm_step::LAYOUT,
        dense::LAYOUT,
        embedding::LAYOUT,
        film_affine::LAYOUT,
        group_affine::LAYOUT,
        layer_norm::LAYOUT,
        max_pool::LAYOUT,
        noise::LAYOUT,
        not_finite::LAYOUT,
        resize_bilinear::LAYOUT,
        to_rgba8::LAYOUT,
        tokens::LAYOUT,
    ])
}

/// The number of an activation in `shared/activation.wgsl`.
fn activation(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Silu => 2,
        Activation::Gelu => 3,
    }
}

/// The dispatches of one kernel, in order, its buffers being of the types that `bindings` have. Where a buffer is larger than
/// a binding may be there are several, each of a part of it.
///
/// # Errors
/// [`Error::OutOfMemory`] where not even a part fits a binding.
pub fn dispatches(kernel: &Kernel, bindings: &[Binding], profile: &Profile) -> Result<Vec<Dispatch>> {
    let fits = |bytes: usize| bytes <= profile.max_binding_bytes;
    let types: Vec<DType> = bindings.iter().map(|binding| binding.dtype).collect();
    let types = Types(&types);
    let is_weight = |binding: &&Binding| binding.name == "weight";
    let panel_bytes = |weight: &Binding| weight.shape[0] * PANEL * weight.dtype.bytes();
    if let Some(weight) = bindings.iter().find(is_weight).filter(|weight| !fits(panel_bytes(weight))) {
        let expected = format!("{PANEL} columns in at most {} bytes, a binding's limit", profile.max_binding_bytes);
        return Err(Error::out_of_memory("weight", expected, weight.shape));
    }
    if bindings.iter().any(|binding| !is_weight(&binding) && !fits(binding.bytes())) {
        return split::by_samples(kernel, types, profile);
    }
    whole(kernel, types, profile)
}

/// The types of the buffers of a kernel, in binding order: those of the values that they are bound to.
#[derive(Clone, Copy, Debug)]
struct Types<'a>(&'a [DType]);

impl Types<'_> {
    /// The kernel's bindings, of these types.
    fn bindings(self, kernel: &Kernel) -> Vec<Binding> {
        let bindings = kernel.parameters().bindings().into_iter();
        bindings.zip(self.0).map(|(binding, &dtype)| Binding { dtype, ..binding }).collect()
    }

    /// Which of the kernel's buffers are stored in half precision.
    fn halves(self, kernel: &Kernel) -> Halves {
        let bindings = self.bindings(kernel);
        let any = |half| bindings.iter().any(|binding| (binding.half, binding.dtype) == (Some(half), DType::F16));
        Halves { source: any(Half::Source), result: any(Half::Result), weight: any(Half::Weight) }
    }
}

/// Which buffers of a kernel are stored in half precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Halves {
    source: bool,
    result: bool,
    weight: bool,
}

impl Halves {
    /// Values of a kernel that takes a channel at a time, or four of half precision.
    fn values(self, channels: usize) -> usize {
        if self.source { channels / 4 } else { channels }
    }

    /// The type of the weight.
    fn weight_type(self) -> DType {
        if self.weight { DType::F16 } else { DType::F32 }
    }
}

/// Elements of the scratch buffer that these dispatches need.
pub(super) fn partials_elements(dispatches: &[Dispatch]) -> usize {
    let partials = dispatches.iter().flat_map(|dispatch| &dispatch.buffers).filter(|bound| bound.of == PARTIALS);
    let ends =
        partials.map(|bound| if let Region::Elements { first, count } = bound.region { first + count } else { 0 });
    ends.max().unwrap_or(0)
}

/// The dispatches of a kernel whose buffers each fit a binding, but for the weight, which lies in parts.
fn whole(kernel: &Kernel, types: Types<'_>, profile: &Profile) -> Result<Vec<Dispatch>> {
    let halves = types.halves(kernel);
    let mut dispatches = match kernel {
        Kernel::Advance(_) => Vec::from([advance::dispatch()]),
        Kernel::Attention(p) => Vec::from([attention::dispatch(p, halves, profile)]),
        Kernel::AvgPool(p) => Vec::from([avg_pool::dispatch(p, halves)]),
        Kernel::ChannelStats(p) => Vec::from([channel_stats::dispatch(p, halves.source)]),
        Kernel::Concat(p) => Vec::from([concat::dispatch(p, halves)]),
        Kernel::Conv(p) => conv::dispatches(p, halves, profile),
        Kernel::Dense(p) => dense::dispatches(p, halves, profile),
        Kernel::DdimStep(p) => Vec::from([ddim_step::dispatch(p)]),
        Kernel::DdpmStep(p) => Vec::from([ddpm_step::dispatch(p)]),
        Kernel::Embedding(p) => Vec::from([embedding::dispatch(p)]),
        Kernel::FilmAffine(p) => Vec::from([film_affine::dispatch(p)]),
        Kernel::GroupAffine(p) => Vec::from([group_affine::dispatch(p, profile)]),
        Kernel::LayerNorm(p) => Vec::from([layer_norm::dispatch(p, halves, profile)]),
        Kernel::MaxPool(p) => Vec::from([max_pool::dispatch(p, halves)]),
        Kernel::Noise(p) => Vec::from([noise::dispatch(p)]),
        Kernel::NotFinite(p) => Vec::from([not_finite::dispatch(p)]),
        Kernel::ResizeBilinear(p) => Vec::from([resize_bilinear::dispatch(p)]),
        Kernel::ToRgba8(p) => Vec::from([to_rgba8::dispatch(p)]),
        Kernel::Tokens(p) => Vec::from([tokens::dispatch(p, halves)]),
    };
    native(&mut dispatches, profile);
    Ok(dispatches)
}

/// How a matrix `[depth, columns]` lies on the device: panels of so many columns, one after the other,
/// each `[depth, PANEL]` and row-major; the last one filled up with zeros.
pub const PANEL: usize = 64;

/// Has the shaders hold values of half precision as such, where the device can.
fn native(dispatches: &mut [Dispatch], profile: &Profile) {
    for Dispatch { shader, .. } in dispatches {
        if profile.native_f16 && ["half", "half_out"].iter().any(|flag| shader.flags.contains(flag)) {
            shader.flags.insert("f16");
        }
    }
}

/// The columns of each part that a matrix of this size is split into, so that each is within a binding: all
/// parts but the last have the same number, a multiple of [`PANEL`].
pub fn weight_parts(depth: usize, columns: usize, dtype: DType, profile: &Profile) -> Vec<core::ops::Range<usize>> {
    let panel_bytes = depth * PANEL * dtype.bytes();
    let panels = (profile.max_binding_bytes / panel_bytes).max(1);
    let step = panels * PANEL;
    (0..columns.div_ceil(step)).map(|part| part * step..((part + 1) * step).min(columns)).collect()
}
