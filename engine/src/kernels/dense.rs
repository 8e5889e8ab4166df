//! `dense`: a linear layer, which multiplies rows by a matrix.

use alloc::vec::Vec;

use super::{Activation, Binding, Half, Matrix, Parameters, Reads};
use crate::{Error, Result};

/// Parameters of a linear layer, which multiplies rows by a matrix.
///
/// ```text
/// y[r, o] = activation( sum_i x[r, i] w[i, o] + bias[o] + residual[r, o] )
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dense {
    /// The number of rows of `x`: samples, or samples times tokens.
    pub rows: usize,
    /// The number of elements of a row of `x`.
    pub in_features: usize,
    /// The number of elements of a row of `y`.
    pub out_features: usize,
    /// True if a bias is added.
    pub bias: bool,
    /// True if a residual is added.
    pub residual: bool,
    /// The activation, which is applied last.
    pub activation: Activation,
}

/// The buffers that a linear layer reads.
pub struct DenseReads<'a> {
    /// `[rows, in_features]`
    pub source: &'a [f32],
    /// `[in_features, out_features]`, or packed by the executor
    pub weight: Matrix<'a>,
    /// `[out_features]`
    pub bias: Option<&'a [f32]>,
    /// `[rows, out_features]`
    pub residual: Option<&'a [f32]>,
}

impl Dense {
    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> DenseReads<'a> {
        DenseReads {
            source: reads.floats(),
            weight: reads.matrix(),
            bias: reads.floats_if(self.bias),
            residual: reads.floats_if(self.residual),
        }
    }
}

impl Parameters for Dense {
    fn check(&self, layer: &str) -> Result<()> {
        if [self.rows, self.in_features, self.out_features].contains(&0) {
            return Err(Error::shape(layer, "sizes above 0", alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = Vec::from([
            Binding::read("source", [self.rows, self.in_features]),
            Binding::read("weight", [self.in_features, self.out_features]).or_half(Half::Weight, true),
        ]);
        if self.bias {
            bindings.push(Binding::read("bias", [self.out_features]));
        }
        if self.residual {
            bindings.push(Binding::read("residual", [self.rows, self.out_features]));
        }
        bindings.push(Binding::write("output", [self.rows, self.out_features]));
        bindings
    }

    fn multiply_adds(&self) -> u64 {
        (self.rows * self.in_features) as u64 * self.out_features as u64
    }
}
