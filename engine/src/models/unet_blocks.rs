//! The blocks of guided-diffusion's UNets and classifiers.
//!
//! Group norms become a gain and a bias per (sample, channel), which the next convolution applies while it loads its
//! source. The previous convolution gathers the statistics for them while it stores its result.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::layers::{ConvInputs, ConvOutputs, conv, conv_of, dense_of, linear, plain_dense};
use super::unet_config::GROUPS;
use super::unet_layout::{Layer, Resample, Stage};
use super::{Condition, UnetConfig};
use crate::Result;
use crate::kernels::{
    Activation, Attention, AvgPool, ChannelStats, Concat, Conv, Dense, FilmAffine, GroupAffine, Load, QkvOrder,
    RowSlice,
};
use crate::program::{Graph, ValueId};
use crate::weights::{Part, Recipe, Scope};

const GROUP_NORM_EPS: f32 = 1e-5;

/// A gain and a bias per (sample, channel), as a slice of the rows of a value.
pub(super) struct Rows {
    pub(super) value: ValueId,
    slice: RowSlice,
}

impl Rows {
    /// Returns the load that applies the gain, the bias and then `activation`.
    pub(super) fn load(&self, activation: Activation) -> Load {
        Load::Affine { rows: self.slice, activation }
    }
}

/// A builder that adds a network of guided-diffusion to a graph.
pub(super) struct Builder<'a, 'g> {
    pub(super) g: &'g mut Graph,
    config: &'a UnetConfig,
    scope: &'a Scope<'a>,
    n: usize,
    /// The timestep's rows of all residual blocks.
    emb: Option<ValueId>,
    condition: &'a Condition,
    /// The statistics of each value, which several norms may read.
    stats: BTreeMap<ValueId, ValueId>,
    /// True if a norm reads the result of the current layer. It is false if a convolution follows in the same stage,
    /// because then only this convolution reads the result.
    is_normed: bool,
    /// The offset of the next residual block's slice in the timestep's rows.
    next_row: usize,
    /// The offset of the next norm's slice in the rows of the conditional norms.
    next_norm: usize,
}

impl<'a, 'g> Builder<'a, 'g> {
    /// Creates a builder. Adds `time_embed` for the sinusoidal embedding of the timestep, `time [n, num_channels]`, and
    /// the condition's embedding, and then the rows that all residual blocks of `stages` compute from the result.
    pub(super) fn new(
        g: &'g mut Graph,
        config: &'a UnetConfig,
        scope: &'a Scope<'a>,
        stages: &[Stage],
        time: ValueId,
        condition: &'a Condition,
    ) -> Result<Self> {
        // Both layers apply SiLU, because the network only uses the SiLU of the embedding.
        let first = Dense { activation: Activation::Silu, ..plain_dense(g, time, config.time_embed_dim()) };
        let hidden = linear(g, &scope.at("time_embed.0"), None, first, time, None)?;
        let second = Dense { activation: Activation::Silu, ..plain_dense(g, hidden, config.time_embed_dim()) };
        let emb = linear(g, &scope.at("time_embed.2"), None, second, hidden, condition.embedding)?;
        let n = g.shape(emb)[0];
        let (stats, is_normed) = (BTreeMap::new(), true);
        let mut builder =
            Builder { g, config, scope, n, emb: None, condition, stats, is_normed, next_row: 0, next_norm: 0 };
        builder.emb = Some(builder.embedding_rows(stages, emb)?);
        Ok(builder)
    }

    /// Adds the stages and returns the result of each.
    pub(super) fn stages(&mut self, stages: &[Stage], x: ValueId) -> Result<Vec<ValueId>> {
        let (mut results, mut kept): (Vec<ValueId>, Vec<ValueId>) = (Vec::new(), Vec::new());
        let mut h = x;
        for stage in stages {
            for (index, layer) in stage.layers.iter().enumerate() {
                self.is_normed = !matches!(stage.layers.get(index + 1), Some(Layer::Conv { .. }));
                h = match layer {
                    Layer::Conv { name, out_channels, resample } => {
                        // The first layer also reads an upsampler's enlarged image.
                        let second = if h == x { self.condition.low_res } else { None };
                        self.resampling_conv(name, h, second, *out_channels, *resample)?
                    }
                    Layer::Residual { name, in_channels, out_channels, resample } => {
                        let skip = if in_channels[1] > 0 { kept.pop() } else { None };
                        self.residual(name, h, skip, *out_channels, *resample)?
                    }
                    Layer::Attention { name, heads } => self.attention(name, h, *heads)?,
                };
            }
            if stage.keeps {
                kept.push(h);
            }
            results.push(h);
        }
        Ok(results)
    }

    /// Adds `emb_layers` of all residual blocks as one matrix product: `[n, sum of c or 2c]`.
    fn embedding_rows(&mut self, stages: &[Stage], emb: ValueId) -> Result<ValueId> {
        let depth = self.config.time_embed_dim();
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for layer in stages.iter().flat_map(|stage| &stage.layers) {
            if let Layer::Residual { name, out_channels, .. } = layer {
                let columns = self.row_length(*out_channels);
                let scope = self.scope.at(name).at("emb_layers.1");
                weights.push(Part::tensor(scope.tensor("weight", &[columns, depth]), columns));
                biases.push(Part::tensor(scope.tensor("bias", &[columns]), columns));
            }
        }
        let (weight, bias) = (Recipe::Matrix { depth, parts: weights }, Recipe::Vector { parts: biases });
        let dense = plain_dense(self.g, emb, bias.shape().elements());
        dense_of(self.g, "emb_layers", dense, weight, Some(bias), emb, None)
    }

    /// Returns the length of the slice that a block with this number of channels takes from the timestep's rows.
    fn row_length(&self, channels: usize) -> usize {
        if self.config.use_scale_shift_norm { 2 * channels } else { channels }
    }

    /// Adds a residual block: `in_layers`, `emb_layers`, `out_layers` and `skip_connection`.
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
            // Both paths are halved: h after norm and SiLU, and x unchanged.
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
        first.stats = self.stats_tile(true);
        let y = self.conv(&scope.at("in_layers.2"), first, inputs)?;

        let shortcut = self.skip_connection(&scope, shortcut, skip, out)?;
        let rows = self.norm(&alloc::format!("{name}.out_layers.0"), y, None, film)?;
        let second = Conv {
            load: Load::Affine { rows: rows.slice, activation: Activation::Silu },
            bias: true,
            residual: Some(enlarged),
            stats: self.stats_tile(self.is_normed),
            ..Conv::new(self.g.image_shape(y)?, out, 3)
        };
        let inputs = ConvInputs { rows: Some(rows.value), residual: Some(shortcut), ..ConvInputs::of(y) };
        self.conv(&scope.at("out_layers.3"), second, inputs)
    }

    /// Adds the shortcut of `x`, side by side with `skip` if there is one, through a 1x1 convolution if the block
    /// changes the number of channels.
    fn skip_connection(&mut self, scope: &Scope<'_>, x: ValueId, skip: Option<ValueId>, out: usize) -> Result<ValueId> {
        let [batch, height, width, channels] = self.g.image_shape(x)?;
        let second = skip.map_or(Ok(0), |skip| self.g.image_shape(skip).map(|shape| shape[3]))?;
        match skip {
            _ if channels + second != out => {
                let mut pointwise = Conv { bias: true, ..Conv::new([batch, height, width, channels], out, 1) };
                pointwise.in_channels[1] = second;
                self.conv(&scope.at("skip_connection"), pointwise, ConvInputs { second: skip, ..ConvInputs::of(x) })
            }
            Some(skip) => {
                let concat = Concat { batch, height, width, channels: [channels, second] };
                self.g.op1(&scope.name("skip_connection"), concat, &[x, skip])
            }
            None => Ok(x),
        }
    }

    /// Adds a residual block's norm of one value, or of two values side by side, followed by FiLM's scale and shift.
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

    /// Adds a group norm of one value, or of two values side by side.
    pub(super) fn group_norm(
        &mut self,
        name: &str,
        x: ValueId,
        second: Option<ValueId>,
        film: Option<Rows>,
    ) -> Result<Rows> {
        let [batch, height, width, first_channels] = self.g.image_shape(x)?;
        let second_channels = second.map_or(Ok(0), |second| self.g.image_shape(second).map(|shape| shape[3]))?;
        let channels = first_channels + second_channels;
        let affine = GroupAffine {
            batch,
            pixels: height * width,
            tile: Conv::STATS_TILE,
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

    /// Returns the tile over which a convolution gathers the statistics of its result, or `None` if it gathers none.
    /// Networks with conditional norms, which need no statistics, have only few group norms. Their statistics are
    /// computed from the stored value.
    fn stats_tile(&self, is_normed: bool) -> Option<usize> {
        (is_normed && self.condition.norms.is_none()).then_some(Conv::STATS_TILE)
    }

    /// Returns a convolution's output, and keeps its statistics for later norms.
    fn result(&mut self, ConvOutputs { output, stats }: ConvOutputs) -> ValueId {
        self.stats.extend(stats.map(|stats| (output, stats)));
        output
    }

    pub(super) fn conv(&mut self, scope: &Scope<'_>, p: Conv, inputs: ConvInputs) -> Result<ValueId> {
        let written = conv(self.g, scope, p, inputs)?;
        Ok(self.result(written))
    }

    fn stats(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        if let Some(&stats) = self.stats.get(&x) {
            return Ok(stats);
        }
        let [batch, height, width, channels] = self.g.image_shape(x)?;
        let stats = self.g.op1(name, ChannelStats { batch, height, width, channels, tile: Conv::STATS_TILE }, &[x])?;
        self.stats.insert(x, stats);
        Ok(stats)
    }

    /// Adds self-attention: `norm`, `qkv`, attention and `proj_out`, plus `x`.
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
        let stats = self.stats_tile(self.is_normed);
        let last = Conv { residual: Some(1), stats, ..Conv::new(shape, channels, 1) };
        self.token_linear(&scope.at("proj_out"), last, inputs)
    }

    /// Adds a 1x1 convolution whose weight the checkpoint stores as that of a one-dimensional convolution.
    pub(super) fn token_linear(&mut self, scope: &Scope<'_>, conv: Conv, inputs: ConvInputs) -> Result<ValueId> {
        let out = conv.out_channels;
        let weight = Recipe::matrix(scope.tensor("weight", &[out, conv.channels(), 1]), conv.depth(), out);
        let bias = Recipe::vector(scope.tensor("bias", &[out]), out);
        let written = conv_of(self.g, scope.layer(), Conv { bias: true, ..conv }, weight, Some(bias), inputs)?;
        Ok(self.result(written))
    }

    fn resampling_conv(
        &mut self,
        name: &str,
        x: ValueId,
        second: Option<ValueId>,
        out: usize,
        resample: Resample,
    ) -> Result<ValueId> {
        let stats = self.stats_tile(self.is_normed);
        let mut plain = Conv { bias: true, stats, ..Conv::new(self.g.image_shape(x)?, out, 3) };
        if let Some(second) = second {
            plain.in_channels[1] = self.g.image_shape(second)?[3];
        }
        let resampled = match resample {
            Resample::Keep => plain,
            Resample::Down => Conv { stride: 2, ..plain },
            Resample::Up => Conv { upsample: 2, ..plain },
        };
        self.conv(&self.scope.at(name), resampled, ConvInputs { second, ..ConvInputs::of(x) })
    }
}
