//! The kernels' parameters: what a kernel is told besides its buffers, and which buffers it binds.
//!
//! A kernel is one name: `kernels/K.rs` (this folder) holds its parameters, `reference/K.rs` its CPU
//! twin, `tests/kernels/K.rs` its cases. Parameters are plain sizes and switches; from them follow the
//! shape and type of every buffer, which [`Graph::op`](crate::program::Graph::op) checks.

pub mod activation;
pub mod advance;
pub mod attention;
pub mod avg_pool;
pub mod channel_stats;
pub mod concat;
pub mod conv;
pub mod ddim_step;
pub mod ddpm_step;
pub mod dense;
pub mod embedding;
pub mod film_affine;
pub mod group_affine;
pub mod layer_norm;
pub mod max_pool;
pub mod noise;
pub mod not_finite;
pub mod resize_bilinear;
mod samples;
pub mod to_rgba8;
pub mod tokens;

use alloc::vec::Vec;

use half::f16;

use crate::tensor::{DType, Shape, halves};
use crate::{Error, Result};

pub use activation::Activation;
pub use advance::{Advance, STATE_WORDS};
pub use attention::{Attention, QkvOrder};
pub use avg_pool::AvgPool;
pub use channel_stats::ChannelStats;
pub use concat::Concat;
pub use conv::Conv;
pub use ddim_step::{DdimCoefficients, DdimStep};
pub use ddpm_step::{DdpmCoefficients, DdpmStep, Prediction};
pub use dense::Dense;
pub use embedding::{Embedding, Index};
pub use film_affine::FilmAffine;
pub use group_affine::GroupAffine;
pub use layer_norm::LayerNorm;
pub use max_pool::MaxPool;
pub use noise::{Noise, Stream};
pub use not_finite::NotFinite;
pub use resize_bilinear::ResizeBilinear;
pub(crate) use samples::Samples;
pub use to_rgba8::ToRgba8;
pub use tokens::Tokens;

/// The most buffers one kernel binds: wgpu's default limit of storage buffers per stage.
pub const MAX_BINDINGS: usize = 8;

/// A buffer that a kernel binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name in errors and in WGSL.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Its element type.
    pub dtype: DType,
    /// Whether the kernel writes it. Written buffers come last.
    pub written: bool,
    /// Whether it may be [`DType::F16`] instead of `dtype`, and together with which other buffers.
    pub half: Option<Half>,
}

/// Buffers of a kernel that are either all stored in half precision or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// What is computed on, and where a kernel hands it on as it is, the result.
    Source,
    /// The result, and what is added to it.
    Result,
    /// A matrix that it is multiplied by.
    Weight,
}

impl Binding {
    /// A buffer of `f32` that is read.
    pub fn read(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { name, shape: shape.into(), dtype: DType::F32, written: false, half: None }
    }

    /// A buffer of `u32` that is read.
    pub fn read_u32(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { dtype: DType::U32, ..Binding::read(name, shape) }
    }

    /// A buffer of `f32` that is written.
    pub fn write(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { written: true, ..Binding::read(name, shape) }
    }

    /// A buffer of `u32` that is written.
    pub fn write_u32(name: &'static str, shape: impl Into<Shape>) -> Self {
        Binding { dtype: DType::U32, ..Binding::write(name, shape) }
    }

    /// Bytes of all its elements.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.bytes()
    }

    /// The same buffer, which may be stored in half precision, where `possible`.
    pub fn or_half(self, half: Half, possible: bool) -> Self {
        Binding { half: possible.then_some(half), ..self }
    }
}

/// Whether all of these sizes are multiples of four: kernels read and write values of half precision by fours.
fn in_fours(sizes: &[usize]) -> bool {
    sizes.iter().all(|size| size.is_multiple_of(4))
}

/// What every kernel's parameters tell of it.
pub trait Parameters {
    /// The kernel's one name.
    fn name(&self) -> &'static str;

    /// Refuses parameters that make no kernel: sizes of 0, a window that does not fit, a part that does
    /// not lie in its row. [`Graph::op`](crate::program::Graph::op) asks before anything else.
    ///
    /// # Errors
    /// [`Error::Shape`] at `layer`.
    fn check(&self, layer: &str) -> Result<()>;

    /// Every buffer it binds, in binding order, those it writes last; at most [`MAX_BINDINGS`].
    fn bindings(&self) -> Vec<Binding>;

    /// Multiply-adds of one run, where they are what its time goes into; else 0.
    fn multiply_adds(&self) -> u64 {
        0
    }
}

/// A part of a row of a `[n, row_length]` buffer: conditioning of all layers lies side by side in one
/// buffer, so that one matrix product makes it, and each layer reads its own part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSlice {
    /// Elements of one row of the buffer.
    pub row_length: usize,
    /// Where in the row this layer's part begins.
    pub offset: usize,
}

impl RowSlice {
    /// The part of sample `n`: `length` elements.
    pub fn of<'a>(&self, rows: &'a [f32], n: usize, length: usize) -> &'a [f32] {
        let start = n * self.row_length + self.offset;
        &rows[start..start + length]
    }

    /// The part of sample `n`, of the same buffer as one long row.
    pub fn of_sample(self, n: usize) -> Self {
        RowSlice { offset: n * self.row_length + self.offset, ..self }
    }

    /// Refuses a part that does not lie in its row.
    ///
    /// # Errors
    /// [`Error::Shape`] where `length` elements from `offset` on reach over the end of the row.
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

/// What is done to a value while it is loaded: nothing, or a gain and a bias per (sample, channel)
/// and an activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// The value as it is.
    #[default]
    Plain,
    /// `activation(value * scale[n, c] + shift[n, c])`; the rows hold the scales of all channels,
    /// then the shifts.
    Affine {
        /// Where in the rows the `2 * channels` elements lie.
        rows: RowSlice,
        /// Applied after the affine map.
        activation: Activation,
    },
}

impl Load {
    /// The same for sample `n` alone: see [`RowSlice::of_sample`].
    pub fn of_sample(self, n: usize) -> Self {
        match self {
            Load::Plain => Load::Plain,
            Load::Affine { rows, activation } => Load::Affine { rows: rows.of_sample(n), activation },
        }
    }

    /// Whether the rows, where there are some, begin at fours.
    fn is_in_fours(self) -> bool {
        match self {
            Load::Plain => true,
            Load::Affine { rows, .. } => in_fours(&[rows.row_length, rows.offset]),
        }
    }

    /// The rows' binding, where there are rows.
    fn binding(&self, batch: usize) -> Option<Binding> {
        match self {
            Load::Plain => None,
            Load::Affine { rows, .. } => Some(Binding::read("rows", [batch, rows.row_length])),
        }
    }
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// A kernel with its parameters: one op of a [`Program`](crate::program::Program) without
        /// the buffers it is bound to.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Kernel {
            $($(#[$doc])* $variant($variant),)*
        }

        $(impl From<$variant> for Kernel {
            fn from(parameters: $variant) -> Self {
                Kernel::$variant(parameters)
            }
        })*

        impl Kernel {
            /// The parameters, whichever kernel it is.
            pub fn parameters(&self) -> &dyn Parameters {
                match self {
                    $(Kernel::$variant(parameters) => parameters,)*
                }
            }
        }
    };
}

kernels! {
    /// Convolution with fused loads and stores.
    Conv,
    /// Matrix product of rows with a weight.
    Dense,
    /// Softmax attention of a sample's pixels to each other.
    Attention,
    /// Mean of windows.
    AvgPool,
    /// Mean and M2 of every channel, by tiles.
    ChannelStats,
    /// Two values side by side in the channels.
    Concat,
    /// FiLM folded into the rows of a norm.
    FilmAffine,
    /// Group norm as rows of gains and biases.
    GroupAffine,
    /// Tokens normalised over their channels.
    LayerNorm,
    /// Largest value of each window.
    MaxPool,
    /// Images of another size.
    ResizeBilinear,
    /// Class token, registers and patches with their positions.
    Tokens,
    /// The sampler's state goes to the next step.
    Advance,
    /// One step of implicit sampling.
    DdimStep,
    /// One step of ancestral sampling.
    DdpmStep,
    /// Rows of a table.
    Embedding,
    /// Standard normals from a counter.
    Noise,
    /// Which parts of a value hold NaN or an infinity.
    NotFinite,
    /// Pixels as bytes, for a texture.
    ToRgba8,
}

/// A weight of a matrix product in host memory, in either type.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision.
    F16(&'a [f16]),
}

impl Matrix<'_> {
    /// An element.
    pub fn at(&self, index: usize) -> f32 {
        match self {
            Matrix::F32(values) => values[index],
            Matrix::F16(values) => values[index].to_f32(),
        }
    }
}

/// The buffers that an op reads, in binding order, as 32-bit words. A kernel takes them one by one in
/// the order of its [`Parameters::bindings`].
#[derive(Clone)]
pub struct Reads<'a> {
    buffers: &'a [&'a [u32]],
    weight: DType,
}

impl<'a> Reads<'a> {
    /// The buffers of an op.
    pub fn new(buffers: &'a [&'a [u32]]) -> Self {
        Reads { buffers, weight: DType::F32 }
    }

    /// The same, of which the [`Half::Weight`] is of this type. All other values of half precision have been widened.
    pub fn with_weight(self, weight: DType) -> Self {
        Reads { weight, ..self }
    }

    /// The next buffer, of `u32`.
    ///
    /// # Panics
    /// Where there is none left: the op was not made by [`Graph::op`](crate::program::Graph::op).
    pub fn words(&mut self) -> &'a [u32] {
        let (first, rest) = self.buffers.split_first().expect("the op has the buffers its parameters name");
        self.buffers = rest;
        first
    }

    /// The next buffer, of `f32`.
    ///
    /// # Panics
    /// As [`Reads::words`].
    pub fn floats(&mut self) -> &'a [f32] {
        bytemuck::cast_slice(self.words())
    }

    /// The next buffer, a weight.
    ///
    /// # Panics
    /// As [`Reads::words`].
    pub fn matrix(&mut self) -> Matrix<'a> {
        match self.weight {
            DType::F16 => Matrix::F16(halves(self.words())),
            _ => Matrix::F32(self.floats()),
        }
    }

    /// The next buffer, of `f32`, where the parameters say that there is one.
    ///
    /// # Panics
    /// As [`Reads::words`].
    pub fn floats_if(&mut self, present: bool) -> Option<&'a [f32]> {
        present.then(|| self.floats())
    }
}
