//! Recipes that make a program's weights from a checkpoint's tensors: packing, folding of norms, and concatenation.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Positions, Prefix, WeightSource};
use crate::{Error, Result, Shape};

/// A description of how a weight of a program is made. It is plain data: nothing is read until a program is loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// A matrix `[depth, columns]` of a dense layer or a convolution, with the parts side by side. `depth` is
    /// in_features or kernel_h * kernel_w * in_channels.
    Matrix {
        /// The number of rows.
        depth: usize,
        /// The parts, from left to right.
        parts: Vec<Part>,
    },
    /// A vector `[columns]`, with the parts one after another.
    Vector {
        /// The parts, in order.
        parts: Vec<Part>,
    },
    /// An unchanged tensor.
    Copy {
        /// The name of the tensor.
        tensor: String,
        /// The shape of the tensor.
        shape: Shape,
    },
    /// A tensor `[columns, rows]` transposed to `[rows, columns]`, for weights that are read element by element.
    Transposed {
        /// The name of the tensor.
        tensor: String,
        /// The shape after transposition.
        shape: Shape,
    },
    /// The positions of a vision transformer's patches.
    Positions(Positions),
    /// The tokens of a vision transformer that precede the patches.
    Prefix(Prefix),
}

/// A run of columns of a weight, as a sum of terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The number of columns.
    pub columns: usize,
    /// The terms of the sum.
    pub terms: Vec<Term>,
}

/// A term `factor[o] * source[k, o]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The matrix or vector that is scaled.
    pub source: Source,
    /// The factor of each column.
    pub factor: Factor,
}

/// A matrix or a vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A matrix or a vector of ones.
    Ones,
    /// A tensor: `[columns]`, `[columns, in]` or `[columns, in, window...]`.
    Tensor(String),
    /// A tensor divided by its spectral norm sigma, which one power iteration computes from the stored
    /// vector u: `v = normalise(u W)`, `u' = normalise(v W^T)`, sigma = `v W^T u'^T` (Miyato et al. 2018,
    /// <https://arxiv.org/abs/1802.05957>).
    SpectralNormed {
        /// The name of the weight W.
        tensor: String,
        /// The name of its left singular vector u, `[1, columns]`.
        u: String,
    },
}

/// A factor per column, usually from the statistics of a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub enum Factor {
    /// The factor 1.
    One,
    /// A tensor `[columns]`: a vision transformer's layer scale (Touvron et al. 2021,
    /// <https://arxiv.org/abs/2103.17239>).
    Tensor(String),
    /// `weight / sqrt(running_var + 1e-5)` of the batch norm with this prefix.
    BatchNormGain(String),
    /// `bias - running_mean * weight / sqrt(running_var + 1e-5)` of the batch norm with this prefix.
    BatchNormShift(String),
    /// `1 / sqrt(stored_var + 1e-5)` of the conditional batch norm with this prefix.
    StoredGain(String),
    /// `-stored_mean / sqrt(stored_var + 1e-5)` of the conditional batch norm with this prefix.
    StoredShift(String),
}

/// The epsilon of every batch norm in the models that percept reads, which is PyTorch's default.
const BATCH_NORM_EPS: f64 = 1e-5;

impl Part {
    /// Creates a part from one unchanged tensor.
    pub fn tensor(name: String, columns: usize) -> Self {
        Part { columns, terms: Vec::from([Term { source: Source::Tensor(name), factor: Factor::One }]) }
    }
}

impl Recipe {
    /// Creates a matrix from one tensor.
    pub fn matrix(tensor: String, depth: usize, columns: usize) -> Self {
        Recipe::Matrix { depth, parts: Vec::from([Part::tensor(tensor, columns)]) }
    }

    /// Creates a vector from one tensor.
    pub fn vector(tensor: String, columns: usize) -> Self {
        Recipe::Vector { parts: Vec::from([Part::tensor(tensor, columns)]) }
    }

    fn parts(&self) -> &[Part] {
        match self {
            Recipe::Matrix { parts, .. } | Recipe::Vector { parts } => parts,
            Recipe::Copy { .. } | Recipe::Transposed { .. } | Recipe::Positions(_) | Recipe::Prefix(_) => &[],
        }
    }

    /// Returns the shape of the weight: `[depth, columns]`, `[columns]`, the tensor's, or `[tokens, channels]`.
    pub fn shape(&self) -> Shape {
        let columns = self.parts().iter().map(|part| part.columns).sum();
        match self {
            Recipe::Matrix { depth, .. } => Shape::from([*depth, columns]),
            Recipe::Vector { .. } => Shape::from([columns]),
            Recipe::Copy { shape, .. } | Recipe::Transposed { shape, .. } => *shape,
            Recipe::Positions(positions) => positions.shape(),
            Recipe::Prefix(prefix) => prefix.shape(),
        }
    }

    /// Returns the name of the weight in error messages: its first tensor, or "constant" if it has none.
    pub fn name(&self) -> String {
        let first = self.parts().iter().flat_map(|part| &part.terms).find_map(|term| match &term.source {
            Source::Ones => None,
            Source::Tensor(tensor) | Source::SpectralNormed { tensor, .. } => Some(tensor.as_str()),
        });
        match self {
            Recipe::Copy { tensor, .. } | Recipe::Transposed { tensor, .. } => tensor.clone(),
            Recipe::Positions(positions) => positions.tensor.clone(),
            Recipe::Prefix(prefix) => prefix.class_token.clone(),
            Recipe::Matrix { .. } | Recipe::Vector { .. } => first.unwrap_or("constant").to_string(),
        }
    }

    /// Makes the weight, in row-major order.
    ///
    /// # Errors
    /// Returns an error if a tensor cannot be read, or if it contains NaN or an infinity.
    pub fn load(&self, source: &dyn WeightSource) -> Result<Vec<f32>> {
        match self {
            Recipe::Copy { tensor, .. } => return source.tensor(tensor),
            Recipe::Transposed { tensor, shape } => {
                let values = source.tensor(tensor)?;
                let (rows, columns) = (shape[0], shape[1]);
                let row = |r: usize| values.iter().skip(r).step_by(rows).copied().take(columns);
                return Ok((0..rows).flat_map(row).collect());
            }
            Recipe::Positions(positions) => return positions.load(source),
            Recipe::Prefix(prefix) => return prefix.load(source),
            Recipe::Matrix { .. } | Recipe::Vector { .. } => {}
        }
        let shape = self.shape();
        let row_length = shape[shape.len() - 1];
        let mut whole = alloc::vec![0.0f32; shape.elements()];
        self.load_parts(source, |first_column, columns, part| {
            for (to, from) in whole.chunks_exact_mut(row_length).zip(part.chunks_exact(columns)) {
                to[first_column..first_column + columns].copy_from_slice(from);
            }
        })?;
        Ok(whole)
    }

    /// Makes the weight part by part, so that an executor that packs it into another layout never holds it
    /// twice. Calls `take(first_column, columns, part)` for each part, which is `[depth, columns]` in
    /// row-major order. Only [`Recipe::Matrix`] and [`Recipe::Vector`] have parts.
    ///
    /// # Errors
    /// Returns the errors of [`Recipe::load`].
    pub fn load_parts(&self, source: &dyn WeightSource, mut take: impl FnMut(usize, usize, &[f32])) -> Result<()> {
        let depth = if let Recipe::Matrix { depth, .. } = self { *depth } else { 1 };
        let mut first_column = 0;
        for part in self.parts() {
            let mut values = alloc::vec![0.0f32; depth * part.columns];
            for term in &part.terms {
                term.add_to(&mut values, part.columns, source)?;
            }
            if let Some(place) = values.iter().position(|value| !value.is_finite()) {
                let at = alloc::format!("{}: {}", source.name(), self.name());
                let got = alloc::format!("{} at element {place} with its normalisation folded in", values[place]);
                return Err(Error::not_finite(at, "finite weights", got));
            }
            take(first_column, part.columns, &values);
            first_column += part.columns;
        }
        Ok(())
    }
}

impl Term {
    /// Adds the term to `values [depth, columns]`.
    fn add_to(&self, values: &mut [f32], columns: usize, source: &dyn WeightSource) -> Result<()> {
        let mut factor = self.factor.load(columns, source)?;
        let tensor = match &self.source {
            Source::Ones => {
                values
                    .chunks_exact_mut(columns)
                    .for_each(|row| row.iter_mut().zip(&factor).for_each(|(v, f)| *v += *f as f32));
                return Ok(());
            }
            Source::Tensor(tensor) => source.tensor(tensor)?,
            Source::SpectralNormed { tensor, u } => {
                let weight = source.tensor(tensor)?;
                let sigma = spectral_norm(&weight, &source.tensor(u)?);
                factor.iter_mut().for_each(|f| *f /= sigma);
                weight
            }
        };
        // Permutes PyTorch's [columns, in, window] to [window, in, columns].
        let per_column = tensor.len() / columns;
        let shape = source.shape(self.tensor_name()).unwrap_or(Shape::from([columns]));
        let window: usize = shape.iter().skip(2).product();
        let in_channels = per_column / window;
        for (o, (column, factor)) in tensor.chunks_exact(per_column).zip(&factor).enumerate() {
            for (c, taps) in column.chunks_exact(window).enumerate() {
                for (tap, &weight) in taps.iter().enumerate() {
                    values[(tap * in_channels + c) * columns + o] += (f64::from(weight) * factor) as f32;
                }
            }
        }
        Ok(())
    }

    fn tensor_name(&self) -> &str {
        match &self.source {
            Source::Ones => "",
            Source::Tensor(tensor) | Source::SpectralNormed { tensor, .. } => tensor,
        }
    }
}

impl Factor {
    fn load(&self, columns: usize, source: &dyn WeightSource) -> Result<Vec<f64>> {
        let tensor = |name: &str| -> Result<Vec<f64>> { Ok(source.tensor(name)?.into_iter().map(f64::from).collect()) };
        let read = |norm: &str, leaf: &str| tensor(&alloc::format!("{norm}.{leaf}"));
        let scale = |variance: Vec<f64>| -> Vec<f64> {
            variance.into_iter().map(|v| 1.0 / libm::sqrt(v + BATCH_NORM_EPS)).collect()
        };
        let times = |a: Vec<f64>, b: &[f64]| -> Vec<f64> { a.into_iter().zip(b).map(|(a, b)| a * b).collect() };
        Ok(match self {
            Factor::One => alloc::vec![1.0; columns],
            Factor::Tensor(name) => tensor(name)?,
            Factor::BatchNormGain(norm) => times(scale(read(norm, "running_var")?), &read(norm, "weight")?),
            Factor::BatchNormShift(norm) => {
                let gain = times(scale(read(norm, "running_var")?), &read(norm, "weight")?);
                let moved = times(gain, &read(norm, "running_mean")?);
                read(norm, "bias")?.into_iter().zip(moved).map(|(bias, moved)| bias - moved).collect()
            }
            Factor::StoredGain(norm) => scale(read(norm, "stored_var")?),
            Factor::StoredShift(norm) => {
                let moved = times(scale(read(norm, "stored_var")?), &read(norm, "stored_mean")?);
                moved.into_iter().map(|x| -x).collect()
            }
        })
    }
}

/// Returns the spectral norm of `weight [columns, depth]`, estimated by one power iteration from `u [columns]`.
fn spectral_norm(weight: &[f32], u: &[f32]) -> f64 {
    let depth = weight.len() / u.len();
    let mut v = alloc::vec![0.0f64; depth];
    for (row, &u) in weight.chunks_exact(depth).zip(u) {
        v.iter_mut().zip(row).for_each(|(v, &w)| *v += f64::from(u) * f64::from(w));
    }
    normalise(&mut v);
    let product = |row: &[f32]| row.iter().zip(&v).map(|(&w, v)| f64::from(w) * v).sum::<f64>();
    let mut next_u: Vec<f64> = weight.chunks_exact(depth).map(product).collect();
    let unscaled = next_u.clone();
    normalise(&mut next_u);
    unscaled.iter().zip(&next_u).map(|(a, b)| a * b).sum()
}

fn normalise(vector: &mut [f64]) {
    let norm = libm::sqrt(vector.iter().map(|x| x * x).sum::<f64>()).max(1e-12);
    vector.iter_mut().for_each(|x| *x /= norm);
}
