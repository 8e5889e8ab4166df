//! Shapes, element types and host tensors.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::{Error, Result};

/// The maximum number of dimensions of a [`Shape`]: `[steps, n, h, w, c]`.
pub const MAX_RANK: usize = 5;

/// The lengths of a tensor's dimensions, outermost first. Tensors are row-major: the last dimension is
/// contiguous.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// Creates a shape with the given dimensions.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if there are more than [`MAX_RANK`] dimensions, or if the number of
    /// elements does not fit into `u32`, the index type of every kernel.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(Error::shape("shape", alloc::format!("at most {MAX_RANK} dimensions"), dims.len()));
        }
        let elements = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if elements.is_none_or(|count| count > u32::MAX as usize) {
            return Err(Error::shape("shape", "at most 4294967295 elements", alloc::format!("{dims:?}")));
        }
        let mut shape = Shape { dims: [1; MAX_RANK], rank: dims.len() };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// Returns the number of elements: the product of the dimensions, which is 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.iter().product()
    }

    /// Returns `true` if two shapes differ at most in dimensions of length 1, so that their elements have
    /// the same layout, such as `[n, 1, 1, c]` and `[n, c]`.
    pub fn is_same_but_for_ones(&self, other: Shape) -> bool {
        let long = |shape: Shape| shape.dims.into_iter().filter(|&dim| dim != 1);
        long(*self).eq(long(other))
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    /// Creates a shape from dimensions that were already checked. The compiler checks the number of
    /// dimensions.
    fn from(dims: [usize; N]) -> Self {
        const { assert!(N <= MAX_RANK) };
        let mut shape = Shape { dims: [1; MAX_RANK], rank: N };
        shape.dims[..N].copy_from_slice(&dims);
        shape
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// The element type of a value of a [`Program`](crate::program::Program).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float, for values whose last dimension is a multiple of four.
    F16,
    /// 32-bit unsigned integer: indices, counters, seeds.
    U32,
}

impl DType {
    /// Returns the size of one element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 => 2,
        }
    }
}

/// Returns the half-precision elements in `words`, two per word.
pub(crate) fn halves(words: &[u32]) -> &[f16] {
    bytemuck::cast_slice::<u32, u16>(words).reinterpret_cast()
}

/// Returns the half-precision elements in `words`, mutably: see [`halves`].
pub(crate) fn halves_mut(words: &mut [u32]) -> &mut [f16] {
    bytemuck::cast_slice_mut::<u32, u16>(words).reinterpret_cast_mut()
}

/// Converts floats to the words of a value that is stored as `dtype`: rounded to half precision, or unchanged.
pub(crate) fn to_words(values: &[f32], dtype: DType) -> Cow<'_, [u32]> {
    if dtype != DType::F16 {
        return Cow::Borrowed(bytemuck::cast_slice(values));
    }
    let mut words = alloc::vec![0; values.len().div_ceil(2)];
    halves_mut(&mut words)[..values.len()].convert_from_f32_slice(values);
    Cow::Owned(words)
}

/// Returns the first `count` floats of a value that is stored as `dtype`, from its words.
pub(crate) fn to_floats(words: &[u32], dtype: DType, count: usize) -> Vec<f32> {
    if dtype != DType::F16 {
        return bytemuck::cast_slice(&words[..count]).to_vec();
    }
    let mut floats = alloc::vec![0.0; count];
    halves(words)[..count].convert_to_f32_slice(&mut floats);
    floats
}

/// The type that weights and activations are stored in. Sums, statistics and softmax are `f32` with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision: half the memory, 11 significant bits, largest value 65,504. Images, representations,
    /// norms, biases and a sampler's state stay `f32`.
    F16,
}

impl Precision {
    /// Returns the precision's name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        }
    }
}

/// A tensor of `f32` in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// Creates a tensor of `shape` that holds `data`.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if `data` does not have as many elements as `shape`.
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Self> {
        let shape = shape.into();
        if shape.elements() != data.len() {
            return Err(Error::shape(
                "tensor",
                alloc::format!("{} elements for {shape}", shape.elements()),
                data.len(),
            ));
        }
        Ok(Tensor { shape, data })
    }

    /// Creates a tensor of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Tensor { shape, data: alloc::vec![0.0; shape.elements()] }
    }

    /// Returns the shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the elements, in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Returns the elements mutably, in row-major order.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Returns the elements, in row-major order, and drops the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Returns the same elements with the axes in the order of `axes`: `permute([0, 2, 3, 1])` turns
    /// `[n, c, h, w]` into `[n, h, w, c]`.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if `axes` is not a permutation of this tensor's axes.
    pub fn permute<const N: usize>(&self, axes: [usize; N]) -> Result<Tensor> {
        let mut seen = [false; MAX_RANK];
        for &axis in &axes {
            if axis < N {
                seen[axis] = true;
            }
        }
        if self.shape.len() != N || !seen[..N].iter().all(|&s| s) {
            return Err(Error::shape(
                "permute",
                alloc::format!("a permutation of {} axes", self.shape.len()),
                alloc::format!("{axes:?}"),
            ));
        }
        let mut strides = [1usize; N];
        for axis in (0..N.saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * self.shape[axis + 1];
        }
        let shape = Shape::from(axes.map(|axis| self.shape[axis]));
        let mut index = [0usize; N];
        let data = (0..shape.elements())
            .map(|_| {
                let at: usize = (0..N).map(|d| index[d] * strides[axes[d]]).sum();
                for d in (0..N).rev() {
                    index[d] += 1;
                    if index[d] < shape[d] {
                        break;
                    }
                    index[d] = 0;
                }
                self.data[at]
            })
            .collect();
        Tensor::new(shape, data)
    }
}

/// Checks that no value is NaN or infinite.
///
/// # Errors
/// Returns [`Error::NotFinite`] at `at`, with the first such value.
pub(crate) fn check_finite(at: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(place) => {
            Err(Error::not_finite(at, "finite values", alloc::format!("{} at element {place}", values[place])))
        }
        None => Ok(()),
    }
}
