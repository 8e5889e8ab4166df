//! The buffers of an op in host memory, which the twins and the CPU's kernels read and write.

use half::f16;

use crate::tensor::{DType, halves};

/// A weight of a matrix product in host memory, in single or half precision.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision.
    F16(&'a [f16]),
}

impl Matrix<'_> {
    /// Returns an element, widened to `f32`.
    pub fn at(&self, index: usize) -> f32 {
        match self {
            Matrix::F32(values) => values[index],
            Matrix::F16(values) => values[index].to_f32(),
        }
    }
}

/// The buffers that an op reads, in binding order, as 32-bit words.
///
/// A kernel takes them one by one, in the order of its [`Parameters::bindings`](super::Parameters::bindings).
#[derive(Clone)]
pub struct Reads<'a> {
    buffers: &'a [&'a [u32]],
    weight: DType,
}

impl<'a> Reads<'a> {
    /// Wraps the buffers of an op.
    pub fn new(buffers: &'a [&'a [u32]]) -> Self {
        Reads { buffers, weight: DType::F32 }
    }

    /// Returns the same buffers, with a weight ([`Half::Weight`](super::Half::Weight)) of type `weight`. All other
    /// half-precision values must already be widened.
    pub fn with_weight(self, weight: DType) -> Self {
        Reads { weight, ..self }
    }

    /// Takes the next buffer, as `u32`.
    ///
    /// # Panics
    /// If no buffer is left, which means that the op was not made by [`Graph::op`](crate::program::Graph::op).
    pub fn words(&mut self) -> &'a [u32] {
        let (first, rest) = self.buffers.split_first().expect("the op has the buffers its parameters name");
        self.buffers = rest;
        first
    }

    /// Takes the next buffer, as `f32`.
    ///
    /// # Panics
    /// See [`Reads::words`].
    pub fn floats(&mut self) -> &'a [f32] {
        bytemuck::cast_slice(self.words())
    }

    /// Takes the next buffer, as a weight.
    ///
    /// # Panics
    /// See [`Reads::words`].
    pub fn matrix(&mut self) -> Matrix<'a> {
        match self.weight {
            DType::F16 => Matrix::F16(halves(self.words())),
            _ => Matrix::F32(self.floats()),
        }
    }

    /// Takes the next buffer, as `f32`, if `present` is true; otherwise returns `None`.
    ///
    /// # Panics
    /// See [`Reads::words`].
    pub fn floats_if(&mut self, present: bool) -> Option<&'a [f32]> {
        present.then(|| self.floats())
    }
}

/// The buffers that an op writes, in binding order, as 32-bit words.
///
/// A kernel takes them one by one, in the order of its [`Parameters::bindings`](super::Parameters::bindings).
pub struct Writes<'a, 'b>(core::slice::IterMut<'a, &'b mut [u32]>);

impl<'a, 'b> Writes<'a, 'b> {
    /// Wraps the buffers of an op.
    pub fn new(buffers: &'a mut [&'b mut [u32]]) -> Self {
        Writes(buffers.iter_mut())
    }

    /// Takes the next buffer, as `u32`.
    ///
    /// # Panics
    /// See [`Reads::words`].
    pub fn words(&mut self) -> &'a mut [u32] {
        self.0.next().expect("the op has the buffers its parameters name")
    }

    /// Takes the next buffer, as `f32`.
    ///
    /// # Panics
    /// See [`Reads::words`].
    pub fn floats(&mut self) -> &'a mut [f32] {
        bytemuck::cast_slice_mut(self.words())
    }

    /// Takes the next buffer, as `f32`, if `present` is true; otherwise returns `None`.
    ///
    /// # Panics
    /// See [`Reads::words`].
    pub fn floats_if(&mut self, present: bool) -> Option<&'a mut [f32]> {
        present.then(|| self.floats())
    }
}
