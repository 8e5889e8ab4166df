//! The conditioning of the UNet on the representation and the class, computed once for all steps.

use alloc::vec::Vec;

use super::layers::{dense_of, linear, plain_dense};
use super::unet_layout::{Layer, layout};
use super::{Conditioning, UnetConfig};
use crate::kernels::{Dense, Embedding, Index};
use crate::program::{Graph, ValueId};
use crate::weights::{Factor, Part, Recipe, Scope, Source, Term};
use crate::{Error, Result, Shape};

/// The values that condition the UNet, which are the same for all steps.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// The embedding that is added to that of the timestep: `[n, 4 num_channels]`.
    pub(super) embedding: Option<ValueId>,
    /// The gain and bias of every conditional batch norm: `[n, 2 * channels of all]`.
    pub(super) norms: Option<ValueId>,
    /// The enlarged small image of an upsampler: `[n, image_size, image_size, 3]`.
    pub(super) low_res: Option<ValueId>,
}

/// Returns the name and the number of channels of each conditional batch norm.
fn norms(config: &UnetConfig) -> Result<Vec<(alloc::string::String, usize)>> {
    let mut norms = Vec::new();
    for layer in layout(config)?.into_iter().flat_map(|stage| stage.layers) {
        if let Layer::Residual { name, in_channels, out_channels, .. } = layer {
            norms.push((alloc::format!("{name}.in_layers.0"), in_channels[0] + in_channels[1]));
            norms.push((alloc::format!("{name}.out_layers.0"), out_channels));
        }
    }
    Ok(norms)
}

/// Adds the layers that depend only on the representation `feat [n, ssl_dim]` and the class `labels [n]` (u32).
///
/// # Errors
/// Returns [`Error::Config`] if the configuration requires `feat` or `labels` and it is missing, or if it is
/// given but the configuration does not use it.
pub fn condition(
    g: &mut Graph,
    config: &UnetConfig,
    scope: &Scope<'_>,
    feat: Option<ValueId>,
    labels: Option<ValueId>,
) -> Result<Condition> {
    let given = [("feat", feat.is_some(), config.ssl_dim > 0), ("labels", labels.is_some(), config.classes() > 0)];
    if let Some((name, is_given, _)) = given.into_iter().find(|(_, is_given, wanted)| is_given != wanted) {
        let (expected, got) = if is_given { ("nothing of the kind", "one") } else { ("one", "none") };
        return Err(Error::config(alloc::format!("{name} of a unet"), expected, got));
    }

    let width = config.time_embed_dim();
    let mut condition = Condition::default();
    if let Some(labels) = labels {
        let shape = Shape::from([config.classes(), width]);
        let table = g.weight(Recipe::Copy { tensor: scope.tensor("label_emb.weight", &shape), shape });
        let batch = g.shape(labels).elements();
        let lookup = Embedding { table_rows: config.classes(), channels: width, batch, index: Index::PerSample };
        condition.embedding = Some(g.op1("label_emb", lookup, &[table, labels])?);
    }
    if let (Some(feat), Conditioning::TimeEmbedding) = (feat, config.conditioning) {
        let dense = plain_dense(g, feat, width);
        let label = condition.embedding;
        let dense = Dense { residual: label.is_some(), ..dense };
        condition.embedding = Some(linear(g, &scope.at("ssl_emb"), None, dense, feat, label)?);
    }
    if let (Some(feat), Conditioning::Cbn) = (feat, config.conditioning) {
        condition.norms = Some(conditional_norms(g, config, scope, feat)?);
    }
    Ok(condition)
}

/// Computes the gain and the bias of all conditional batch norms by one matrix product. With s = shared(h),
/// `y = (x - mean) / sqrt(var + eps) * (1 + G s + g) + B s + b`, so both are linear in s:
/// the gain is `(G s + 1 + g) / sqrt(var + eps)`, and the bias is `B s + b - mean * gain`.
fn conditional_norms(g: &mut Graph, config: &UnetConfig, scope: &Scope<'_>, feat: ValueId) -> Result<ValueId> {
    let mut s = feat;
    let weight_of = |scope: &Scope<'_>, out: usize, depth: usize| {
        let tensor = scope.tensor("weight", &[out, depth]);
        if config.spectral_norm {
            Source::SpectralNormed { tensor, u: scope.tensor("u0", &[1, out]) }
        } else {
            Source::Tensor(tensor)
        }
    };
    // Without `shared` (guided-diffusion's G_shared off), the norms read the representation itself.
    let shared = scope.at("shared");
    if shared.has("weight") {
        let width = shared.shape("weight")?.first().copied().unwrap_or(0);
        let dense = plain_dense(g, s, width);
        let term = Term { source: weight_of(&shared, width, config.ssl_dim), factor: Factor::One };
        let parts = Vec::from([Part { columns: width, terms: Vec::from([term]) }]);
        let weight = Recipe::Matrix { depth: config.ssl_dim, parts };
        let bias = Recipe::vector(shared.tensor("bias", &[width]), width);
        s = dense_of(g, "shared", dense, weight, Some(bias), s, None)?;
    }
    let depth = g.shape(s).last().copied().unwrap_or(0);

    let (mut weight, mut bias) = (Vec::new(), Vec::new());
    for (name, columns) in norms(config)? {
        let norm = scope.at(&name);
        for leaf in ["stored_mean", "stored_var"] {
            norm.tensor(leaf, &[columns]);
        }
        let (scaled, shifted) = (Factor::StoredGain(name.clone()), Factor::StoredShift(name));
        let of_gain = weight_of(&norm.at("gain"), columns, depth);
        let of_bias = weight_of(&norm.at("bias"), columns, depth);
        let gain_bias = Source::Tensor(norm.tensor("gain.bias", &[columns]));
        let bias_bias = Source::Tensor(norm.tensor("bias.bias", &[columns]));
        let term = |source: &Source, factor: &Factor| Term { source: source.clone(), factor: factor.clone() };
        weight.push(Part { columns, terms: Vec::from([term(&of_gain, &scaled)]) });
        bias.push(Part { columns, terms: Vec::from([term(&gain_bias, &scaled), term(&Source::Ones, &scaled)]) });
        weight.push(Part { columns, terms: Vec::from([term(&of_bias, &Factor::One), term(&of_gain, &shifted)]) });
        let terms = [term(&bias_bias, &Factor::One), term(&gain_bias, &shifted), term(&Source::Ones, &shifted)];
        bias.push(Part { columns, terms: Vec::from(terms) });
    }
    let (weight, bias) = (Recipe::Matrix { depth, parts: weight }, Recipe::Vector { parts: bias });
    let dense = plain_dense(g, s, bias.shape().elements());
    dense_of(g, "conditional batch norms", dense, weight, Some(bias), s, None)
}
