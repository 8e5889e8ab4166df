//! How a program's weight is made of a checkpoint's tensors: packing, folding, side by side.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Positions, Prefix, WeightSource};
use crate::{Error, Result, Shape};

/// What a weight of a program is made of. Plain data: nothing is read until a program is loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// A matrix `[depth, columns]` of a dense layer or a convolution, `depth` being in_features or
    /// kernel_h * kernel_w * in_channels; the parts stand side by side.
    Matrix {
        /// Rows.
        depth: usize,
        /// The columns, from left to right.
        parts: Vec<Part>,
    },
    /// A vector `[columns]`, the parts one after the other.
    Vector {
        /// The elements, in order.
        parts: Vec<Part>,
    },
    /// A tensor as it is.
    Copy {
        /// Its name.
        tensor: String,
        /// Its shape.
        shape: Shape,
    },
    /// A tensor `[columns, rows]` as `[rows, columns]`, for what is read element by element.
    Transposed {
        /// Its name.
        tensor: String,
        /// The shape that it becomes.
        shape: Shape,
    },
    /// The positions of a vision transformer's patches.
    Positions(Positions),
    /// The tokens before those of its patches.
    Prefix(Prefix),
}

/// Some columns of a weight: a sum of terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How many columns.
    pub columns: usize,
    /// What is added up.
    pub terms: Vec<Term>,
}

/// `factor[o] * source[k, o]`
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What is scaled.
    pub source: Source,
    /// A number per column.
    pub factor: Factor,
}

/// A matrix or a vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Ones.
    Ones,
    /// A tensor: `[columns]`, `[columns, in]` or `[columns, in, window...]`.
    Tensor(String),
    /// A tensor divided by its spectral norm: with u the stored `tensor_u0` and one power iteration,
    /// `v = normalise(u W)`, `u' = normalise(v W^T)`, sigma = `v W^T u'^T` (Miyato et al. 2018,
    /// <https://arxiv.org/abs/1802.05957>).
    SpectralNormed {
        /// The weight.
        tensor: String,
        /// Its left singular vector, `[1, columns]`.
        u: String,
    },
}

/// A number per column, mostly from the statistics of a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub enum Factor {
    /// 1
    One,
    /// A tensor `[columns]`: a vision transformer's layer scale (Touvron et al. 2021,
    /// <https://arxiv.org/abs/2103.17239>).
    Tensor(String),
    /// `weight / sqrt(running_var + 1e-5)` of the batch norm of this prefix
    BatchNormGain(String),
    /// `bias - running_mean * weight / sqrt(running_var + 1e-5)`
    BatchNormShift(String),
    /// `1 / sqrt(stored_var + 1e-5)` of the conditional batch norm of this prefix
    StoredGain(String),
    /// `-stored_mean / sqrt(stored_var + 1e-5)`
    StoredShift(String),
}

/// Epsilon of every batch norm in the models that percept reads: PyTorch's default.
const BATCH_NORM_EPS: f64 = 1e-5;

impl Part {
    /// One tensor as it is.
    pub fn tensor(name: String, columns: usize) -> Self {
        Part { columns, terms: Vec::from([Term { source: Source::Tensor(name), factor: Factor::One }]) }
    }
}

impl Recipe {
    /// A matrix of one tensor.
    pub fn matrix(tensor: String, depth: usize, columns: usize) -> Self {
        Recipe::Matrix { depth, parts: Vec::from([Part::tensor(tensor, columns)]) }
    }

    /// A vector of one tensor.
    pub fn vector(tensor: String, columns: usize) -> Self {
        Recipe::Vector { parts: Vec::from([Part::tensor(tensor, columns)]) }
    }

    fn parts(&self) -> &[Part] {
        match self {
            Recipe::Matrix { parts, .. } | Recipe::Vector { parts } => parts,
            Recipe::Copy { .. } | Recipe::Transposed { .. } | Recipe::Positions(_) | Recipe::Prefix(_) => &[],
        }
    }

    /// The shape of the weight: `[depth, columns]`, `[columns]`, the tensor's, or `[tokens, channels]`.
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

    /// What to call it in an error: the first tensor in it.
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

    /// Makes the weight, row-major.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity.
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

    /// Makes the weight part by part, so that an executor that packs it otherwise never holds it twice:
    /// `take(first column, columns, part)` with the part as `[depth, columns]`, row-major. Only a
    /// [`Recipe::Matrix`] and a [`Recipe::Vector`] have parts.
    ///
    /// # Errors
    /// As [`Recipe::load`].
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
    /// Adds the term to `[depth, columns]`.
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
        // PyTorch's [columns, in, window] to [window, in, columns].
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

/// The spectral norm of `weight [columns, depth]` by one power iteration from `u [columns]`.
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
