//! Layers that several models share.

use alloc::vec::Vec;

use crate::Result;
use crate::kernels::{Activation, AvgPool, Conv, Dense, Load};
use crate::program::{Graph, ValueId};
use crate::weights::{Factor, Part, Recipe, Scope, Source, Term};

/// The tensors of a batch norm.
const BATCH_NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// The values that a convolution reads besides its weights.
#[derive(Clone, Copy)]
pub(super) struct ConvInputs {
    pub source: ValueId,
    pub second: Option<ValueId>,
    pub rows: Option<ValueId>,
    pub add: Option<ValueId>,
    pub residual: Option<ValueId>,
}

impl ConvInputs {
    pub(super) fn of(source: ValueId) -> Self {
        ConvInputs { source, second: None, rows: None, add: None, residual: None }
    }
}

/// The values that a convolution writes.
#[derive(Clone, Copy)]
pub(super) struct ConvOutputs {
    pub output: ValueId,
    /// The statistics of the output, if the convolution gathers them.
    pub stats: Option<ValueId>,
}

/// Adds a convolution with the weight and, if `conv.bias`, the bias of the checkpoint.
pub(super) fn conv(g: &mut Graph, scope: &Scope<'_>, conv: Conv, inputs: ConvInputs) -> Result<ConvOutputs> {
    let weight = Recipe::matrix(conv_weight(scope, &conv), conv.depth(), conv.out_channels);
    let bias = conv.bias.then(|| Recipe::vector(scope.tensor("bias", &[conv.out_channels]), conv.out_channels));
    conv_of(g, scope.layer(), conv, weight, bias, inputs)
}

/// Adds a convolution without bias and folds the batch norm that follows into it:
/// `w' = w gamma / sqrt(var + eps)`, `b' = beta - mean gamma / sqrt(var + eps)`. If the checkpoint's batch norm is
/// already folded, adds the convolution with the checkpoint's bias.
pub(super) fn conv_bn(
    g: &mut Graph,
    scope: &Scope<'_>,
    norm: &Scope<'_>,
    conv: Conv,
    inputs: ConvInputs,
) -> Result<ValueId> {
    if is_folded(scope, norm) {
        return Ok(self::conv(g, scope, Conv { bias: true, ..conv }, inputs)?.output);
    }
    let columns = conv.out_channels;
    let prefix = batch_norm(norm, columns);
    let gain = Factor::BatchNormGain(prefix.clone());
    let term = Term { source: Source::Tensor(conv_weight(scope, &conv)), factor: gain };
    let weight = Recipe::Matrix { depth: conv.depth(), parts: Vec::from([Part { columns, terms: Vec::from([term]) }]) };
    let shift = Term { source: Source::Ones, factor: Factor::BatchNormShift(prefix) };
    let bias = Recipe::Vector { parts: Vec::from([Part { columns, terms: Vec::from([shift]) }]) };
    Ok(conv_of(g, scope.layer(), Conv { bias: true, ..conv }, weight, Some(bias), inputs)?.output)
}

fn conv_weight(scope: &Scope<'_>, conv: &Conv) -> alloc::string::String {
    scope.tensor("weight", &[conv.out_channels, conv.channels(), conv.kernel[0], conv.kernel[1]])
}

/// Adds a convolution with the given weights.
pub(super) fn conv_of(
    g: &mut Graph,
    layer: &str,
    conv: Conv,
    weight: Recipe,
    bias: Option<Recipe>,
    inputs: ConvInputs,
) -> Result<ConvOutputs> {
    let weight = g.weight(weight);
    let bias = bias.map(|bias| g.weight(bias));
    let ConvInputs { source, second, rows, add, residual } = inputs;
    let reads = [Some(source), second, rows, Some(weight), bias, add, residual];
    let written = g.op(layer, conv, &reads.into_iter().flatten().collect::<Vec<_>>())?;
    Ok(ConvOutputs { output: written[0], stats: written.get(1).copied() })
}

/// Returns true if a layer has a bias in place of the batch norm after it.
fn is_folded(scope: &Scope<'_>, norm: &Scope<'_>) -> bool {
    scope.has("bias") && !BATCH_NORM.iter().any(|leaf| norm.has(leaf))
}

/// Requests the tensors of a batch norm and returns its prefix.
fn batch_norm(norm: &Scope<'_>, channels: usize) -> alloc::string::String {
    for leaf in BATCH_NORM {
        norm.tensor(leaf, &[channels]);
    }
    alloc::string::String::from(norm.layer())
}

/// Returns the parameters of a dense layer of a value's rows, with only a bias.
pub(super) fn plain_dense(g: &Graph, source: ValueId, out_features: usize) -> Dense {
    let shape = g.shape(source);
    let in_features = shape.last().copied().unwrap_or(0);
    let rows = shape.elements() / in_features.max(1);
    Dense { rows, in_features, out_features, bias: true, residual: false, activation: Activation::Identity }
}

/// Adds a linear layer of the checkpoint, and folds `norm`, the batch norm after it, into it if there is
/// one. `dense.bias` says whether the checkpoint has a bias for the layer.
pub(super) fn linear(
    g: &mut Graph,
    scope: &Scope<'_>,
    norm: Option<&Scope<'_>>,
    dense: Dense,
    source: ValueId,
    residual: Option<ValueId>,
) -> Result<ValueId> {
    let columns = dense.out_features;
    let folded = norm.is_some_and(|norm| is_folded(scope, norm));
    let dense = Dense { bias: dense.bias || folded, ..dense };
    let prefix = norm.filter(|_| !folded).map(|norm| batch_norm(norm, columns));
    let gain = prefix.clone().map_or(Factor::One, Factor::BatchNormGain);
    let tensor =
        |leaf: &str, shape: &[usize]| Term { source: Source::Tensor(scope.tensor(leaf, shape)), factor: gain.clone() };
    let weight = tensor("weight", &[columns, dense.in_features]);
    let own_bias = dense.bias.then(|| tensor("bias", &[columns]));
    let shift = prefix.map(|prefix| Term { source: Source::Ones, factor: Factor::BatchNormShift(prefix) });
    let bias_terms: Vec<Term> = own_bias.into_iter().chain(shift).collect();
    let weight =
        Recipe::Matrix { depth: dense.in_features, parts: Vec::from([Part { columns, terms: Vec::from([weight]) }]) };
    let bias =
        (!bias_terms.is_empty()).then(|| Recipe::Vector { parts: Vec::from([Part { columns, terms: bias_terms }]) });
    dense_of(g, scope.layer(), dense, weight, bias, source, residual)
}

/// Adds a linear layer with the given weights.
pub(super) fn dense_of(
    g: &mut Graph,
    layer: &str,
    dense: Dense,
    weight: Recipe,
    bias: Option<Recipe>,
    source: ValueId,
    residual: Option<ValueId>,
) -> Result<ValueId> {
    let dense = Dense { bias: bias.is_some(), residual: residual.is_some(), ..dense };
    let weight = g.weight(weight);
    let bias = bias.map(|bias| g.weight(bias));
    let reads = [Some(source), Some(weight), bias, residual];
    g.op1(layer, dense, &reads.into_iter().flatten().collect::<Vec<_>>())
}

/// Adds the mean over the pixels of each sample: `[n, h, w, c]` to `[n, 1, 1, c]`.
///
/// # Errors
/// Returns an error if `source` is not an image.
pub fn spatial_mean(g: &mut Graph, layer: &str, source: ValueId) -> Result<ValueId> {
    let [batch, height, width, channels] = g.image_shape(source)?;
    let pool = AvgPool { batch, height, width, channels, kernel: [height, width], load: Load::Plain };
    g.op1(layer, pool, &[source])
}
