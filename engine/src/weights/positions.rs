//! Position embeddings of vision transformers. They are trained for one grid of patches and resized for other grids.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::WeightSource;
use crate::{Error, Result, Shape};

/// The rule that resizes position embeddings from one grid of patches to another. All rules resize bicubically, one
/// direction after the other, as PyTorch does with `align_corners=False`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resizing {
    /// The rule of DINO, and of DINOv2 without registers: scales from `n` to `m` patches by the factor (m + 0.1) / n,
    /// with Keys' cubic for a = -0.75, which is not widened if the grid shrinks. The 0.1 once kept rounding from losing
    /// a patch, and networks now depend on it.
    #[default]
    Dino,
    /// The rule of timm, and of DINOv2 with registers: scales by the factor m / n, with Keys' cubic for a = -0.5, which
    /// is widened if the grid shrinks.
    Antialias,
}

impl Resizing {
    /// Returns the interpolation coefficients `[to, from]`: the share of each of the `from` places in each of the `to`
    /// places.
    fn shares(self, from: usize, to: usize) -> Vec<f64> {
        let mut shares = alloc::vec![0.0; to * from];
        for (index, shares) in shares.chunks_exact_mut(from).enumerate() {
            let middle = index as f64 + 0.5;
            match self {
                Resizing::Dino => {
                    let at = middle * from as f64 / (to as f64 + 0.1) - 0.5;
                    for tap in -1..=2 {
                        let place = libm::floor(at) + f64::from(tap);
                        // Places beyond the edge have the value of the edge.
                        shares[(place.max(0.0) as usize).min(from - 1)] += cubic(at - place, -0.75);
                    }
                }
                Resizing::Antialias => {
                    let scale = from as f64 / to as f64;
                    let stretch = scale.max(1.0);
                    for (place, share) in shares.iter_mut().enumerate() {
                        *share = cubic((place as f64 + 0.5 - middle * scale) / stretch, -0.5);
                    }
                    // Places beyond the edge do not count, so the shares of the others are scaled to a sum of 1.
                    let total: f64 = shares.iter().sum();
                    shares.iter_mut().for_each(|share| *share /= total);
                }
            }
        }
        shares
    }
}

/// Evaluates Keys' cubic convolution kernel (1981, Cubic Convolution Interpolation for Digital Image Processing,
/// eq. 4).
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The positions of a grid of patches, `[height * width, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// The name of the tensor `[1, 1 + from * from, channels]`: the class token's position, then the positions of a
    /// square grid.
    pub tensor: String,
    /// The number of patches along a side of that grid.
    pub from: usize,
    /// The height and width of the requested grid, in patches.
    pub to: [usize; 2],
    /// The number of channels.
    pub channels: usize,
    /// The rule that resizes the grid, if the sizes differ.
    pub resizing: Resizing,
}

impl Positions {
    /// Returns the shape of the weight.
    pub(super) fn shape(&self) -> Shape {
        Shape::from([self.to[0] * self.to[1], self.channels])
    }

    /// Makes the weight.
    pub(super) fn load(&self, source: &dyn WeightSource) -> Result<Vec<f32>> {
        let (from, [height, width], channels) = (self.from, self.to, self.channels);
        let tensor = tensor_of(source, &self.tensor, (1 + from * from) * channels)?;
        let grid = &tensor[channels..];
        if self.to == [from; 2] {
            return Ok(grid.to_vec());
        }
        let grid: Vec<f64> = grid.iter().map(|&x| f64::from(x)).collect();
        // Resizes the height, then the width of each line.
        let lines = mixed(&self.resizing.shares(from, height), &grid, from);
        let shares = self.resizing.shares(from, width);
        let patches = lines.chunks_exact(from * channels).flat_map(|line| mixed(&shares, line, from));
        Ok(patches.map(|x| x as f32).collect())
    }
}

/// Returns `[to, ...]`: for each row of `shares [to, from]`, the sum of the rows of `values [from, ...]` weighted by
/// these shares.
fn mixed(shares: &[f64], values: &[f64], from: usize) -> Vec<f64> {
    let length = values.len() / from;
    let mut mixed = alloc::vec![0.0; shares.len() / from * length];
    for (to, shares) in mixed.chunks_exact_mut(length).zip(shares.chunks_exact(from)) {
        let rows = values.chunks_exact(length).zip(shares).filter(|(_, share)| **share != 0.0);
        rows.for_each(|(row, share)| to.iter_mut().zip(row).for_each(|(to, x)| *to += share * x));
    }
    mixed
}

/// The tokens of a vision transformer that precede the patches, `[1 + registers, channels]`: the class token plus its
/// position, then the registers, which have no position (Darcet et al. 2023, <https://arxiv.org/abs/2309.16588>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The name of the tensor `[1, 1, channels]`.
    pub class_token: String,
    /// The name of the tensor `[1, 1 + patches, channels]`, whose first row is the class token's position.
    pub positions: String,
    /// The number of patches in `positions`.
    pub patches: usize,
    /// The name of the tensor `[1, count, channels]` and `count`, or `None` if there are no registers.
    pub registers: Option<(String, usize)>,
    /// The number of channels.
    pub channels: usize,
}

impl Prefix {
    /// Returns the shape of the weight.
    pub(super) fn shape(&self) -> Shape {
        let registers = self.registers.as_ref().map_or(0, |(_, count)| *count);
        Shape::from([1 + registers, self.channels])
    }

    /// Makes the weight.
    pub(super) fn load(&self, source: &dyn WeightSource) -> Result<Vec<f32>> {
        let mut tokens = tensor_of(source, &self.class_token, self.channels)?;
        let positions = tensor_of(source, &self.positions, (1 + self.patches) * self.channels)?;
        tokens.iter_mut().zip(positions).for_each(|(x, position)| *x += position);
        if let Some((registers, count)) = &self.registers {
            tokens.extend(tensor_of(source, registers, count * self.channels)?);
        }
        Ok(tokens)
    }
}

/// Reads a tensor, which must have `elements` elements.
fn tensor_of(source: &dyn WeightSource, name: &str, elements: usize) -> Result<Vec<f32>> {
    let tensor = source.tensor(name)?;
    if tensor.len() != elements {
        let at = alloc::format!("{}: {name}", source.name());
        return Err(Error::shape(at, alloc::format!("{elements} elements"), tensor.len()));
    }
    Ok(tensor)
}
