//! Folds reparametrised weights into plain ones: weight norm and PyTorch's spectral norm, which checkpoints store
//! as two or three tensors per weight.

use std::collections::BTreeMap;

use percept::Result;
use percept::weights::to_f32;

use super::computed;
use crate::checkpoint::Tensor;

/// The tensors that replace `L.weight` in a layer `L` with weight norm, under each of PyTorch's two naming
/// schemes.
const WEIGHT_NORM: [[&str; 2]; 2] =
    [["weight_g", "weight_v"], ["parametrizations.weight.original0", "parametrizations.weight.original1"]];
/// The same for spectral norm.
const SPECTRAL_NORM: [[&str; 3]; 2] = [
    ["weight_orig", "weight_u", "weight_v"],
    ["parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"],
];

/// Replaces the parts of each weight by `L.weight`, which is computed when it is read. Returns the names of the
/// folded weights.
pub fn fold(tensors: &mut BTreeMap<String, Tensor>) -> Vec<String> {
    let mut folded = Vec::new();
    for [gain, direction] in WEIGHT_NORM {
        for layer in layers(tensors, direction) {
            if let Some([g, v]) = take(tensors, &layer, [gain, direction]) {
                put(tensors, &layer, v.clone(), move || weight_normed(&g, &v), &mut folded);
            }
        }
    }
    for [original, left, right] in SPECTRAL_NORM {
        for layer in layers(tensors, original) {
            if let Some([w, u, v]) = take(tensors, &layer, [original, left, right]) {
                put(tensors, &layer, w.clone(), move || spectral_normed(&w, &u, &v), &mut folded);
            }
        }
    }
    folded
}

/// Returns the prefixes of the layers that have a tensor named `leaf`.
fn layers(tensors: &BTreeMap<String, Tensor>, leaf: &str) -> Vec<String> {
    tensors.keys().filter_map(|name| name.strip_suffix(leaf).map(str::to_string)).collect()
}

/// Removes the parts of a layer's weight and returns them, or returns `None` if some are missing.
fn take<const N: usize>(tensors: &mut BTreeMap<String, Tensor>, layer: &str, leaves: [&str; N]) -> Option<[Tensor; N]> {
    let names = leaves.map(|leaf| format!("{layer}{leaf}"));
    if !names.iter().all(|name| tensors.contains_key(name)) {
        return None;
    }
    let parts: Vec<Tensor> = names.iter().filter_map(|name| tensors.remove(name)).collect();
    parts.try_into().ok()
}

fn put(
    tensors: &mut BTreeMap<String, Tensor>,
    layer: &str,
    like: Tensor,
    compute: impl Fn() -> Result<Vec<f32>> + Send + Sync + 'static,
    folded: &mut Vec<String>,
) {
    let name = format!("{layer}weight");
    tensors.insert(name.clone(), computed(like.name(), like.shape().to_vec(), compute));
    folded.push(name);
}

/// Computes `w[o] = g[o] v[o] / |v[o]|` (Salimans and Kingma 2016, <https://arxiv.org/abs/1602.07868>, eq. 2). The
/// index o runs over the first dimension, which is PyTorch's default.
fn weight_normed(g: &Tensor, v: &Tensor) -> Result<Vec<f32>> {
    let (gains, mut weight) = (floats(g)?, floats(v)?);
    let row = weight.len() / gains.len().max(1);
    for (row, gain) in weight.chunks_exact_mut(row.max(1)).zip(&gains) {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        row.iter_mut().for_each(|x| *x = (f64::from(*x) * f64::from(*gain) / norm) as f32);
    }
    Ok(weight)
}

/// Computes `w / (u W v)`, as PyTorch does in evaluation. `W` is `w` as a matrix of its first dimension by all
/// others, and u and v are the stored singular vectors (Miyato et al. 2018, <https://arxiv.org/abs/1802.05957>,
/// eq. 8).
fn spectral_normed(w: &Tensor, u: &Tensor, v: &Tensor) -> Result<Vec<f32>> {
    let (mut weight, left, right) = (floats(w)?, floats(u)?, floats(v)?);
    let product = |row: &[f32]| row.iter().zip(&right).map(|(&x, &v)| f64::from(x) * f64::from(v)).sum::<f64>();
    let rows = weight.chunks_exact(right.len().max(1)).zip(&left);
    let sigma: f64 = rows.map(|(row, &u)| f64::from(u) * product(row)).sum();
    weight.iter_mut().for_each(|x| *x = (f64::from(*x) / sigma) as f32);
    Ok(weight)
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut values = vec![0.0; tensor.elements()];
    to_f32(tensor.dtype(), &tensor.read()?, &mut values).map_err(|error| error.within(tensor.name()))?;
    Ok(values)
}
