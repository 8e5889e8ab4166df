//! The UNet of guided-diffusion (Dhariwal and Nichol 2021, <https://arxiv.org/abs/2105.05233>) and of
//! RCDM (Bordes et al. 2022, <https://arxiv.org/abs/2112.09164>).
//!
//! What depends on the representation or the class alone is computed once, by [`condition`]; the
//! timestep's rows of all blocks come from one matrix product per step. Group norms are folded into a
//! gain and a bias per (sample, channel), which the next convolution applies while it loads.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::layers::{ConvInputs, conv, dense_of, linear};
use super::unet_config::GROUPS;
use super::unet_layout::{Layer, Resample, layout};
use super::{Conditioning, UnetConfig};
use crate::kernels::{
    Activation, Attention, AvgPool, ChannelStats, Concat, Conv, Dense, Embedding, FilmAffine, GroupAffine, Index, Load,
    QkvOrder, RowSlice,
};
use crate::program::{Graph, ValueId};
use crate::weights::{Factor, Part, Recipe, Scope, Source, Term};
use crate::{Error, Result, Shape};

/// Pixels over which a channel's statistics are taken at once.
const STATS_TILE: usize = 64;
const GROUP_NORM_EPS: f32 = 1e-5;

/// What conditions the UNet, the same for all steps.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Added to the timestep's embedding: `[n, 4 num_channels]`.
    embedding: Option<ValueId>,
    /// Gain and bias of every conditional batch norm: `[n, 2 * channels of all]`.
    norms: Option<ValueId>,
}

/// The layers in which conditional batch norms stand: the name of each and its channels.
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

/// Adds what depends on the representation `feat [n, ssl_dim]` and the class `labels [n]` (u32) alone.
///
/// # Errors
/// [`Error::Config`] where the configuration asks for one of them and it is not given, or the other
/// way round.
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

fn plain_dense(g: &Graph, source: ValueId, out_features: usize) -> Dense {
    let shape = g.shape(source);
    let in_features = shape.last().copied().unwrap_or(0);
    let rows = shape.elements() / in_features.max(1);
    Dense { rows, in_features, out_features, bias: true, residual: false, activation: Activation::Identity }
}

/// Gain and bias of all conditional batch norms by one matrix product. With s = shared(h),
/// `y = (x - mean) / sqrt(var + eps) * (1 + G s + g) + B s + b`, so both are linear in s:
/// gain `(G s + 1 + g) / sqrt(var + eps)`, bias `B s + b - mean * gain`.
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
    // Without it (guided-diffusion's G_shared off) the norms read the representation itself.
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

/// Adds the UNet for `x [n, h, w, 3]` and the sinusoidal embedding of the timestep,
/// `time [n, num_channels]`; returns `[n, h, w, 3 or 6]`.
///
/// # Errors
/// Where shapes do not fit the configuration.
pub fn unet(
    g: &mut Graph,
    config: &UnetConfig,
    scope: &Scope<'_>,
    x: ValueId,
    time: ValueId,
    condition: &Condition,
) -> Result<ValueId> {
    let [n, height, width, _] = g.image_shape(x)?;
    if [height, width] != [config.image_size; 2] {
        let expected = alloc::format!("{0}x{0} pixels", config.image_size);
        return Err(Error::shape("x of a unet", expected, alloc::format!("{height}x{width}")));
    }

    // time_embed, and what conditions it. Only its SiLU is ever used.
    let first = Dense { activation: Activation::Silu, ..plain_dense(g, time, config.time_embed_dim()) };
    let hidden = linear(g, &scope.at("time_embed.0"), None, first, time, None)?;
    let second = Dense { activation: Activation::Silu, ..plain_dense(g, hidden, config.time_embed_dim()) };
    let emb = linear(g, &scope.at("time_embed.2"), None, second, hidden, condition.embedding)?;

    let mut builder =
        Builder { g, config, scope, n, emb: None, condition, stats: BTreeMap::new(), next_row: 0, next_norm: 0 };
    builder.emb = Some(builder.embedding_rows(emb)?);

    let mut kept: Vec<ValueId> = Vec::new();
    let mut h = x;
    for stage in layout(config)? {
        for layer in stage.layers {
            h = match layer {
                Layer::Conv { name, out_channels, resample } => {
                    builder.resampling_conv(&name, h, out_channels, resample)?
                }
                Layer::Residual { name, in_channels, out_channels, resample } => {
                    let skip = if in_channels[1] > 0 { kept.pop() } else { None };
                    builder.residual(&name, h, skip, out_channels, resample)?
                }
                Layer::Attention { name, heads } => builder.attention(&name, h, heads)?,
            };
        }
        if stage.keeps {
            kept.push(h);
        }
    }

    let rows = builder.group_norm("out.0", h, None, None)?;
    let load = Load::Affine { rows: rows.slice, activation: Activation::Silu };
    let last = Conv { load, bias: true, ..Conv::new(builder.g.image_shape(h)?, config.out_channels(), 3) };
    conv(builder.g, &scope.at("out.2"), last, ConvInputs { rows: Some(rows.value), ..ConvInputs::of(h) })
}

/// Gain and bias per (sample, channel): a part of the rows of a value.
struct Rows {
    value: ValueId,
    slice: RowSlice,
}

struct Builder<'a, 'g> {
    g: &'g mut Graph,
    config: &'a UnetConfig,
    scope: &'a Scope<'a>,
    n: usize,
    /// The timestep's rows of all residual blocks.
    emb: Option<ValueId>,
    condition: &'a Condition,
    /// The statistics of a value, which several norms may ask for.
    stats: BTreeMap<ValueId, ValueId>,
    /// Where in the timestep's rows the next residual block's part begins.
    next_row: usize,
    /// Where in the conditional norms' rows the next norm's part begins.
    next_norm: usize,
}

impl Builder<'_, '_> {
    /// `emb_layers` of all residual blocks as one matrix product: `[n, sum of c or 2c]`.
    fn embedding_rows(&mut self, emb: ValueId) -> Result<ValueId> {
        let depth = self.config.time_embed_dim();
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for layer in layout(self.config)?.into_iter().flat_map(|stage| stage.layers) {
            if let Layer::Residual { name, out_channels, .. } = layer {
                let columns = self.row_length(out_channels);
                let scope = self.scope.at(name).at("emb_layers.1");
                weights.push(Part::tensor(scope.tensor("weight", &[columns, depth]), columns));
                biases.push(Part::tensor(scope.tensor("bias", &[columns]), columns));
            }
        }
        let (weight, bias) = (Recipe::Matrix { depth, parts: weights }, Recipe::Vector { parts: biases });
        let dense = plain_dense(self.g, emb, bias.shape().elements());
        dense_of(self.g, "emb_layers", dense, weight, Some(bias), emb, None)
    }

    /// Elements that a block of so many channels takes of the timestep's rows.
    fn row_length(&self, channels: usize) -> usize {
        if self.config.use_scale_shift_norm { 2 * channels } else { channels }
    }

    /// in_layers, emb_layers, out_layers and skip_connection.
    fn residual(
        &mut self,
        name: &str,
        h: ValueId,
        skip: Option<ValueId>,
        out: usize,
        resample: Resample,
    ) -> Result<ValueId> {
        let scope = self.scope.at(name);
        let emb = self.emb.map(|value| Rows {
            value,
            slice: RowSlice { row_length: self.g.shape(value).last().copied().unwrap_or(0), offset: self.next_row },
        });
        self.next_row += self.row_length(out);
        let (film, add) = if self.config.use_scale_shift_norm { (emb, None) } else { (None, emb) };

        let rows = self.norm(&alloc::format!("{name}.in_layers.0"), h, skip, None)?;
        let load = Load::Affine { rows: rows.slice, activation: Activation::Silu };
        let (mut first, mut inputs) = (Conv::new(self.g.image_shape(h)?, out, 3), ConvInputs::of(h));
        let mut shortcut = h;
        let mut enlarged = 1;
        if resample == Resample::Down {
            // Both paths are halved: h after norm and SiLU, x as it is.
            let [batch, height, width, channels] = self.g.image_shape(h)?;
            let pool = AvgPool { batch, height, width, channels, kernel: [2, 2], load: Load::Plain };
            let halved = self.g.op1(&scope.name("h_upd"), AvgPool { load, ..pool.clone() }, &[h, rows.value])?;
            shortcut = self.g.op1(&scope.name("x_upd"), pool, &[h])?;
            first = Conv::new(self.g.image_shape(halved)?, out, 3);
            inputs.source = halved;
        } else {
            first.load = load;
            inputs.rows = Some(rows.value);
            if resample == Resample::Up {
                first.upsample = 2;
                enlarged = 2;
            }
            if let Some(skip) = skip {
                first.in_channels[1] = self.g.image_shape(skip)?[3];
                inputs.second = Some(skip);
            }
        }
        first.bias = true;
        first.add = add.as_ref().map(|rows| rows.slice);
        inputs.add = add.map(|rows| rows.value);
        let y = conv(self.g, &scope.at("in_layers.2"), first, inputs)?;

        let shortcut = self.skip_connection(&scope, shortcut, skip, out)?;
        let rows = self.norm(&alloc::format!("{name}.out_layers.0"), y, None, film)?;
        let second = Conv {
            load: Load::Affine { rows: rows.slice, activation: Activation::Silu },
            bias: true,
            residual: Some(enlarged),
            ..Conv::new(self.g.image_shape(y)?, out, 3)
        };
        let inputs = ConvInputs { rows: Some(rows.value), residual: Some(shortcut), ..ConvInputs::of(y) };
        conv(self.g, &scope.at("out_layers.3"), second, inputs)
    }

    /// The identity, or a 1x1 convolution where the block changes the number of channels.
    fn skip_connection(&mut self, scope: &Scope<'_>, x: ValueId, skip: Option<ValueId>, out: usize) -> Result<ValueId> {
        let [batch, height, width, channels] = self.g.image_shape(x)?;
        let second = skip.map_or(Ok(0), |skip| self.g.image_shape(skip).map(|shape| shape[3]))?;
        match skip {
            _ if channels + second != out => {
                let mut pointwise = Conv { bias: true, ..Conv::new([batch, height, width, channels], out, 1) };
                pointwise.in_channels[1] = second;
                conv(self.g, &scope.at("skip_connection"), pointwise, ConvInputs { second: skip, ..ConvInputs::of(x) })
            }
            Some(skip) => {
                let concat = Concat { batch, height, width, channels: [channels, second] };
                self.g.op1(&scope.name("skip_connection"), concat, &[x, skip])
            }
            None => Ok(x),
        }
    }

    /// A residual block's norm, of one value or two side by side, and FiLM's scale and shift after it.
    fn norm(&mut self, name: &str, x: ValueId, second: Option<ValueId>, film: Option<Rows>) -> Result<Rows> {
        let Some(norms) = self.condition.norms else {
            return self.group_norm(name, x, second, film);
        };
        let [.., channels] = self.g.image_shape(x)?;
        let channels = channels + second.map_or(Ok(0), |second| self.g.image_shape(second).map(|shape| shape[3]))?;
        let row_length = self.g.shape(norms).last().copied().unwrap_or(0);
        let own = Rows { value: norms, slice: RowSlice { row_length, offset: self.next_norm } };
        self.next_norm += 2 * channels;
        match film {
            None => Ok(own),
            Some(film) => {
                let affine = FilmAffine { batch: self.n, channels, rows: own.slice, film: film.slice };
                let value = self.g.op1(name, affine, &[own.value, film.value])?;
                Ok(Rows { value, slice: RowSlice { row_length: 2 * channels, offset: 0 } })
            }
        }
    }

    fn group_norm(&mut self, name: &str, x: ValueId, second: Option<ValueId>, film: Option<Rows>) -> Result<Rows> {
        let [batch, height, width, first_channels] = self.g.image_shape(x)?;
        let second_channels = second.map_or(Ok(0), |second| self.g.image_shape(second).map(|shape| shape[3]))?;
        let channels = first_channels + second_channels;
        let affine = GroupAffine {
            batch,
            pixels: height * width,
            tile: STATS_TILE,
            channels: [first_channels, second_channels],
            groups: GROUPS,
            eps: GROUP_NORM_EPS,
            film: film.as_ref().map(|film| film.slice),
        };
        let scope = self.scope.at(name);
        let vector = |leaf: &str| Recipe::vector(scope.tensor(leaf, &[channels]), channels);
        let (gamma, beta) = (self.g.weight(vector("weight")), self.g.weight(vector("bias")));
        let stats = self.stats(name, x)?;
        let second = second.map(|second| self.stats(name, second)).transpose()?;
        let reads = [Some(stats), second, Some(gamma), Some(beta), film.map(|film| film.value)];
        let value = self.g.op1(name, affine, &reads.into_iter().flatten().collect::<Vec<_>>())?;
        Ok(Rows { value, slice: RowSlice { row_length: 2 * channels, offset: 0 } })
    }

    fn stats(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        if let Some(&stats) = self.stats.get(&x) {
            return Ok(stats);
        }
        let [batch, height, width, channels] = self.g.image_shape(x)?;
        let stats = self.g.op1(name, ChannelStats { batch, height, width, channels, tile: STATS_TILE }, &[x])?;
        self.stats.insert(x, stats);
        Ok(stats)
    }

    /// norm, qkv, attention, proj_out, and x added.
    fn attention(&mut self, name: &str, x: ValueId, heads: usize) -> Result<ValueId> {
        let [batch, height, width, channels] = self.g.image_shape(x)?;
        let scope = self.scope.at(name);
        let rows = self.group_norm(&alloc::format!("{name}.norm"), x, None, None)?;
        let load = Load::Affine { rows: rows.slice, activation: Activation::Identity };
        let shape = [batch, height, width, channels];
        let inputs = ConvInputs { rows: Some(rows.value), ..ConvInputs::of(x) };
        let qkv = self.token_linear(&scope.at("qkv"), Conv { load, ..Conv::new(shape, 3 * channels, 1) }, inputs)?;
        let order = if self.config.use_new_attention_order { QkvOrder::QkvFirst } else { QkvOrder::HeadsFirst };
        let attention = Attention { batch, height, width, heads, head_channels: channels / heads, order };
        let y = self.g.op1(&scope.name("attention"), attention, &[qkv])?;
        let inputs = ConvInputs { residual: Some(x), ..ConvInputs::of(y) };
        self.token_linear(&scope.at("proj_out"), Conv { residual: Some(1), ..Conv::new(shape, channels, 1) }, inputs)
    }

    /// A 1x1 convolution whose weight the checkpoint keeps as that of a one-dimensional one.
    fn token_linear(&mut self, scope: &Scope<'_>, conv: Conv, inputs: ConvInputs) -> Result<ValueId> {
        let out = conv.out_channels;
        let weight = Recipe::matrix(scope.tensor("weight", &[out, conv.channels(), 1]), conv.depth(), out);
        let bias = Recipe::vector(scope.tensor("bias", &[out]), out);
        super::layers::conv_of(self.g, scope.layer(), Conv { bias: true, ..conv }, weight, Some(bias), inputs)
    }

    fn resampling_conv(&mut self, name: &str, x: ValueId, out: usize, resample: Resample) -> Result<ValueId> {
        let plain = Conv { bias: true, ..Conv::new(self.g.image_shape(x)?, out, 3) };
        let resampled = match resample {
            Resample::Keep => plain,
            Resample::Down => Conv { stride: 2, ..plain },
            Resample::Up => Conv { upsample: 2, ..plain },
        };
        conv(self.g, &self.scope.at(name), resampled, ConvInputs::of(x))
    }
}
