//! Folds batch norms, and the spectral norms of conditional batch norms, into the weights before them, as percept
//! does when it loads a model. The recipes of the model's program determine what is folded into which weight.

use std::collections::BTreeMap;
use std::sync::Arc;

use percept::program::{Program, Role};
use percept::weights::{Factor, Part, Recipe, Source, Term};
use serde_json::Value;

use super::computed;
use crate::checkpoint::Tensor;
use crate::view::View;

/// Replaces weights and norms by folded weights and biases, which are computed when they are read. Returns the
/// names of the folded tensors.
pub fn fold_norms(program: &Program, tensors: &mut BTreeMap<String, Tensor>, checkpoint: &str) -> Vec<String> {
    let source = Arc::new(View::new(checkpoint, tensors));
    let recipes = program.values().iter().filter_map(|value| match &value.role {
        Role::Weight(recipe) => Some(recipe),
        _ => None,
    });
    let mut folded = Vec::new();
    for recipe in recipes {
        let parts: &[Part] = match recipe {
            Recipe::Matrix { parts, .. } | Recipe::Vector { parts } => parts,
            _ => &[],
        };
        for (part, term) in parts.iter().flat_map(|part| part.terms.iter().map(move |term| (part, term))) {
            match (&term.source, &term.factor) {
                (Source::Tensor(weight), Factor::BatchNormGain(norm)) if matches!(recipe, Recipe::Matrix { .. }) => {
                    fold_weight(tensors, &source, weight, part.columns, term);
                    // The layer's new bias replaces all tensors of the norm.
                    let bias = weight.replace("weight", "bias");
                    let of_norm = BTreeMap::from_iter(
                        ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
                            .map(|leaf| (format!("{norm}.{leaf}"), ())),
                    );
                    tensors.retain(|name, _| !of_norm.contains_key(name));
                    tensors.insert(bias.clone(), folded_bias(&source, &bias, norm, part.columns));
                    folded.extend([weight.clone(), bias]);
                }
                (Source::SpectralNormed { tensor, u }, _) if tensors.contains_key(u) => {
                    let plain = Term { source: term.source.clone(), factor: Factor::One };
                    fold_weight(tensors, &source, tensor, part.columns, &plain);
                    tensors.remove(u);
                    folded.push(tensor.clone());
                }
                _ => {}
            }
        }
    }
    folded
}

/// Folds the factor of a term into a weight, which keeps its shape.
fn fold_weight(tensors: &mut BTreeMap<String, Tensor>, source: &Arc<View>, weight: &str, columns: usize, term: &Term) {
    let Some(tensor) = tensors.get(weight) else { return };
    let shape = tensor.shape().to_vec();
    let depth = tensor.elements() / columns.max(1);
    let window: usize = shape.iter().skip(2).product();
    let recipe = Recipe::Matrix { depth, parts: vec![Part { columns, terms: vec![term.clone()] }] };
    let source = source.clone();
    let compute = move || {
        // From `[window, in, columns]`, the kernels' order, to `[columns, in, window]`, PyTorch's.
        let packed = recipe.load(source.as_ref())?;
        let in_channels = depth / window.max(1);
        let place = |o: usize, c: usize, tap: usize| (tap * in_channels + c) * columns + o;
        let element = |i: usize| packed[place(i / depth, i % depth / window, i % window)];
        Ok((0..packed.len()).map(element).collect())
    };
    let name = tensor.name().to_string();
    tensors.insert(weight.to_string(), computed(&name, shape, compute));
}

/// Returns the bias `beta - mean gain`, plus `bias gain` if the layer has a bias of its own.
fn folded_bias(source: &Arc<View>, bias: &str, norm: &str, columns: usize) -> Tensor {
    use percept::weights::WeightSource as _;
    let shift = Term { source: Source::Ones, factor: Factor::BatchNormShift(norm.to_string()) };
    let own = source
        .shape(bias)
        .map(|_| Term { source: Source::Tensor(bias.to_string()), factor: Factor::BatchNormGain(norm.to_string()) });
    let terms = own.into_iter().chain([shift]).collect();
    let recipe = Recipe::Vector { parts: vec![Part { columns, terms }] };
    let source = source.clone();
    computed(bias, vec![columns], move || recipe.load(source.as_ref()))
}

/// Returns the configuration of a UNet without the spectral norms that are folded into its weights.
pub fn without_spectral_norm(config: &str) -> String {
    match serde_json::from_str(config) {
        Ok(Value::Object(mut flags)) if flags.contains_key("spectral_norm") => {
            flags.insert("spectral_norm".to_string(), false.into());
            Value::Object(flags).to_string()
        }
        _ => config.to_string(),
    }
}
