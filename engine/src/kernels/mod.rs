//! The parameters of kernels, and the buffers that kernels bind.
//!
//! All files of a kernel share one name: `kernels/K.rs` (this folder) holds its parameters,
//! `reference/K.rs` its CPU twin, and `tests/kernels/K.rs` its cases. Parameters are plain sizes and
//! switches. They determine the shape and type of every buffer, which
//! [`Graph::op`](crate::program::Graph::op) checks.

pub mod activation;
mod buffers;
mod samples;

use alloc::vec::Vec;

use crate::tensor::{DType, Shape};
use crate::{Error, Result};

pub use activation::Activation;
pub use advance::STATE_WORDS;
pub use attention::QkvOrder;
pub use buffers::{Matrix, Reads, Writes};
pub use ddim_step::DdimCoefficients;
pub use ddpm_step::{DdpmCoefficients, Prediction};
pub use embedding::Index;
pub use noise::Stream;
pub(crate) use samples::Samples;

/// Calls `callback!` with every kernel: the type of its parameters, and the name that its files share.
///
/// Everything that has an entry per kernel is generated from this table: [`Kernel`], the twins, the dispatches and the
/// tests. A new kernel needs one line here.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_kernel {
    ($callback:ident) => {
        $callback! {
            /// Advances a sampler's state to the next step.
            Advance: advance,
            /// Computes softmax self-attention over the pixels of a sample.
            Attention: attention,
            /// Computes the mean of each window.
            AvgPool: avg_pool,
            /// Computes the mean and M2 of every channel, per tile.
            ChannelStats: channel_stats,
            /// Concatenates two values along the channels.
            Concat: concat,
            /// Computes a convolution with fused loads and stores.
            Conv: conv,
            /// Takes one step of implicit sampling (DDIM).
            DdimStep: ddim_step,
            /// Takes one step of ancestral sampling (DDPM).
            DdpmStep: ddpm_step,
            /// Multiplies rows by a weight matrix.
            Dense: dense,
            /// Looks up rows of a table.
            Embedding: embedding,
            /// Folds FiLM into the gains and biases of a norm.
            FilmAffine: film_affine,
            /// Computes a group norm as gains and biases.
            GroupAffine: group_affine,
            /// Normalises tokens over their channels.
            LayerNorm: layer_norm,
            /// Computes the largest value of each window.
            MaxPool: max_pool,
            /// Generates standard normal noise from a counter.
            Noise: noise,
            /// Finds the tiles of a value that hold NaN or an infinity.
            NotFinite: not_finite,
            /// Resizes images by bilinear interpolation.
            ResizeBilinear: resize_bilinear,
            /// Converts images to RGBA bytes for a texture.
            ToRgba8: to_rgba8,
            /// Builds a transformer's tokens: the prefix, then the patches with their positions.
            Tokens: tokens,
        }
    };
}

/// The maximum number of buffers that a kernel binds: wgpu's default limit of storage buffers per stage.
pub const MAX_BINDINGS: usize = 8;

/// A buffer that a kernel binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The buffer's name in errors and in WGSL.
    pub name: &'static str,
    /// The buffer's shape.
    pub shape: Shape,
    /// The type of the buffer's elements.
    pub dtype: DType,
    /// True if the kernel writes the buffer. Written buffers come last.
    pub written: bool,
    /// The group of buffers together with which this one may be [`DType::F16`] instead of `dtype`, or
    /// `None` if it may not.
    pub half: Option<Half>,
}

/// A group of a kernel's buffers: either all of them are stored in half precision, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The sources, and the result of a kernel that stores it in the type of its sources.
    Source,
    /// The result, and the residual that is added to it.
    Result,
    /// The matrix that the sources are multiplied by.
    Weight,
}

impl Binding {
    /// Creates the binding of an `f32` buffer that is read.
    pub fn read(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { name, shape: shape.into(), dtype: DType::F32, written: false, half: None }
    }

    /// Creates the binding of a `u32` buffer that is read.
    pub fn read_u32(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { dtype: DType::U32, ..Binding::read(name, shape) }
    }

    /// Creates the binding of an `f32` buffer that is written.
    pub fn write(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { written: true, ..Binding::read(name, shape) }
    }

    /// Creates the binding of a `u32` buffer that is written.
    pub fn write_u32(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { dtype: DType::U32, ..Binding::write(name, shape) }
    }

    /// Returns the size of the buffer in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.bytes()
    }

    /// Returns the same binding, whose buffer may be stored in half precision if `possible` is true.
    pub fn or_half(self, half: Half, possible: bool) -> Self {
        Binding { half: possible.then_some(half), ..self }
    }
}

/// Returns `true` if all sizes are multiples of four. Kernels read and write half-precision values four
/// at a time.
fn in_fours(sizes: &[usize]) -> bool {
    sizes.iter().all(|size| size.is_multiple_of(4))
}

/// The common interface of all kernels' parameters.
pub trait Parameters {
    /// Checks that the parameters are valid. [`Graph::op`](crate::program::Graph::op) calls this before
    /// anything else.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] at `layer` if the parameters are invalid: a size is 0, a window does not
    /// fit, or a part does not lie in its row.
    fn check(&self, layer: &str) -> Result<()>;

    /// Returns every buffer that the kernel binds, in binding order and with the written ones last; at
    /// most [`MAX_BINDINGS`].
    fn bindings(&self) -> Vec<Binding>;

    /// Returns the number of samples, and the same kernel for `batch` samples.
    ///
    /// Returns `None` if the kernel cannot run on a few samples at a time: it has no samples, its result depends on how
    /// they are numbered, or it works across samples.
    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        let _ = batch;
        None
    }

    /// Returns the number of multiply-adds of one run, or 0 if they do not dominate the kernel's running time.
    fn multiply_adds(&self) -> u64 {
        0
    }
}

/// A part of each row of an `[n, row_length]` buffer.
///
/// The conditioning of all layers is stored in one buffer, so that one matrix product computes it. Each
/// layer reads its own part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSlice {
    /// The number of elements of one row of the buffer.
    pub row_length: usize,
    /// The offset of this layer's part in the row.
    pub offset: usize,
}

impl RowSlice {
    /// Returns the part of sample `n`, which has `length` elements.
    pub fn of<'a>(&self, rows: &'a [f32], n: usize, length: usize) -> &'a [f32] {
        let start = n * self.row_length + self.offset;
        &rows[start..start + length]
    }

    /// Returns the slice that selects the part of sample `n` for a kernel that runs on that sample alone
    /// and binds the whole buffer.
    pub fn of_sample(self, n: usize) -> Self {
        RowSlice { offset: n * self.row_length + self.offset, ..self }
    }

    /// Checks that the part lies in its row.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if `length` elements starting at `offset` extend past the end of the row.
    pub fn check(&self, layer: &str, length: usize) -> Result<()> {
        if self.offset + length > self.row_length {
            return Err(Error::shape(
                layer,
                alloc::format!("{length} elements of a row of {}", self.row_length),
                alloc::format!("those from {} on", self.offset),
            ));
        }
        Ok(())
    }
}

/// The map that a kernel applies to values when it loads them: none, or a gain and a bias per
/// (sample, channel) followed by an activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// The unchanged value.
    #[default]
    Plain,
    /// `activation(value * scale[n, c] + shift[n, c])`; the rows hold the scales of all channels,
    /// then the shifts.
    Affine {
        /// The position of the `2 * channels` elements in the rows.
        rows: RowSlice,
        /// The activation, which is applied after the affine map.
        activation: Activation,
    },
}

impl Load {
    /// Returns the same map for sample `n` alone: see [`RowSlice::of_sample`].
    pub fn of_sample(self, n: usize) -> Self {
        match self {
            Load::Plain => Load::Plain,
            Load::Affine { rows, activation } => Load::Affine { rows: rows.of_sample(n), activation },
        }
    }

    /// Returns `true` if there are no rows, or if their parts begin at multiples of four elements.
    fn is_in_fours(self) -> bool {
        match self {
            Load::Plain => true,
            Load::Affine { rows, .. } => in_fours(&[rows.row_length, rows.offset]),
        }
    }

    /// Returns the binding of the rows, or `None` if there are none.
    fn binding(&self, batch: usize) -> Option<Binding> {
        match self {
            Load::Plain => None,
            Load::Affine { rows, .. } => Some(Binding::read("rows", [batch, rows.row_length])),
        }
    }
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $kernel:ident: $module:ident,)*) => {
        $(
            pub mod $module;
            pub use $module::$kernel;
        )*

        /// A kernel with its parameters: one op of a [`Program`](crate::program::Program) without
        /// the buffers that it is bound to.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Kernel {
            $($(#[$doc])* $kernel($kernel),)*
        }

        $(impl From<$kernel> for Kernel {
            fn from(parameters: $kernel) -> Self {
                Kernel::$kernel(parameters)
            }
        })*

        impl Kernel {
            /// The names of all kernels.
            pub const NAMES: &[&str] = &[$(stringify!($module)),*];

            /// Returns the kernel's name, which is also the name of its files.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Kernel::$kernel(_) => stringify!($module),)*
                }
            }

            /// Returns the kernel's parameters.
            pub fn parameters(&self) -> &dyn Parameters {
                match self {
                    $(Kernel::$kernel(parameters) => parameters,)*
                }
            }
        }
    };
}

for_each_kernel!(kernels);
