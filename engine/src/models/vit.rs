//! Vision transformers (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>) under the names that DINO, timm
//! and DINOv2 share, with norms before attention and MLP, a class token and learned positions. The configuration can
//! enable layer scale and registers.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::VitConfig;
use super::layers::{ConvInputs, conv, conv_of};
use crate::kernels::{Activation, Attention, AvgPool, Conv, LayerNorm, Load, MaxPool, QkvOrder, Tokens};
use crate::program::{Graph, ValueId};
use crate::weights::{Factor, Part, Positions, Prefix, Recipe, Scope, Source, Term};
use crate::{Error, Result};

/// The values of a vision transformer that can be read.
pub struct VitValues {
    /// The class token after each block, before the last norm: `block0`, ..., each `[n, 1, 1, dim]`.
    pub blocks: Vec<(String, ValueId)>,
    /// The class token after the last norm, `[n, 1, dim]`.
    pub trunk: ValueId,
    /// The mean of all tokens after the last norm, `[n, 1, 1, dim]`.
    pub tokens_mean: ValueId,
    /// The mean of the patches' tokens after the last norm, without the class token and registers, `[n, 1, 1, dim]`.
    pub patch_mean: ValueId,
}

/// Adds a vision transformer for `image [n, h, w, 3]`. A checkpoint may also hold a classifier (`head`, `fc`) and the
/// token that DINOv2 masks patches with. They are not part of the representation and are ignored.
///
/// # Errors
/// Returns an error if the configuration is invalid, or if the patch size does not divide the image's sides.
pub fn vit(g: &mut Graph, config: &VitConfig, scope: &Scope<'_>, image: ValueId) -> Result<VitValues> {
    config.check()?;
    ["head.", "fc.", "mask_token"].iter().for_each(|unused| scope.ignore(unused));
    let (mut x, tokens) = embed(g, config, scope, image)?;
    let mut vit = Vit { g, config, batch: tokens.batch, tokens: tokens.tokens() };
    let mut blocks = Vec::new();
    for index in 0..config.depth {
        x = vit.block(&scope.at("blocks").at(index), x)?;
        blocks.push((alloc::format!("block{index}"), vit.class_token(index, x)?));
    }
    let norm = scope.at("norm");
    let [all, patches] = [0..vit.tokens, tokens.prefix..vit.tokens];
    let trunk = vit.norm(&norm, x, 0..1)?;
    let tokens_mean = vit.mean("tokens_mean", &norm, x, all)?;
    let patch_mean = vit.mean("patch_mean", &norm, x, patches)?;
    Ok(VitValues { blocks, trunk, tokens_mean, patch_mean })
}

/// Adds the tokens of the image, `[n, t, dim]`: the class token, the registers, and then the patches. Each patch is a
/// linear map of its pixels plus its position.
fn embed(g: &mut Graph, config: &VitConfig, scope: &Scope<'_>, image: ValueId) -> Result<(ValueId, Tokens)> {
    let (dim, patch, grid) = (config.dim, config.patch, config.grid());
    let [batch, height, width, channels] = g.image_shape(image)?;
    if [height, width].iter().any(|side| *side == 0 || !side.is_multiple_of(patch)) {
        let expected = alloc::format!("sides that are multiples of {patch} pixels, as its patches are");
        return Err(Error::shape("image of a vit", expected, alloc::format!("{height}x{width}")));
    }
    let of_patches =
        Conv { bias: true, stride: patch, padding: 0, ..Conv::new([batch, height, width, channels], dim, patch) };
    let patches = conv(g, &scope.at("patch_embed.proj"), of_patches, ConvInputs::of(image))?.output;

    let to = [height / patch, width / patch];
    let class_token = scope.tensor("cls_token", &[1, 1, dim]);
    let tensor = scope.tensor("pos_embed", &[1, 1 + grid * grid, dim]);
    let registers = (config.registers > 0)
        .then(|| (scope.tensor("register_tokens", &[1, config.registers, dim]), config.registers));
    let prefix = Prefix { class_token, positions: tensor.clone(), patches: grid * grid, registers, channels: dim };
    let positions = Positions { tensor, from: grid, to, channels: dim, resizing: config.pos_embed };
    let [positions, prefix] = [Recipe::Positions(positions), Recipe::Prefix(prefix)].map(|recipe| g.weight(recipe));
    let count = 1 + config.registers;
    let tokens = Tokens { batch, height: to[0], width: to[1], channels: dim, prefix: count, own_prefix: false };
    Ok((g.op1("tokens", tokens.clone(), &[patches, positions, prefix])?, tokens))
}

/// A builder that adds a vision transformer to a graph. Its values are `[n, t, c]`, as images of height t and width 1.
struct Vit<'a> {
    g: &'a mut Graph,
    config: &'a VitConfig,
    batch: usize,
    tokens: usize,
}

impl Vit<'_> {
    /// Adds a block: `x + ls1 attn(norm1(x))`, and then `x + ls2 mlp(norm2(x))`.
    fn block(&mut self, scope: &Scope<'_>, x: ValueId) -> Result<ValueId> {
        let VitConfig { dim, heads, layer_scale, .. } = *self.config;
        let scale = |name: &str| layer_scale.then(|| scope.at(name).tensor("gamma", &[dim]));
        let all = 0..self.tokens;

        let attn = scope.at("attn");
        let y = self.norm(&scope.at("norm1"), x, all.clone())?;
        let qkv = self.linear(&attn.at("qkv"), self.of_tokens(dim, 3 * dim), None, ConvInputs::of(y))?;
        let attention = Attention {
            batch: self.batch,
            height: self.tokens,
            width: 1,
            heads,
            head_channels: dim / heads,
            order: QkvOrder::QkvFirst,
        };
        let y = self.g.op1(attn.layer(), attention, &[qkv])?;
        let x = self.add(&attn.at("proj"), self.of_tokens(dim, dim), scale("ls1"), y, x)?;

        let mlp = scope.at("mlp");
        let fc1 = mlp.at("fc1");
        // The configuration does not give the hidden width. It is 4 * dim in all known models except giant ones, so it
        // is read from the checkpoint if possible.
        let hidden = match fc1.has("weight") {
            true => fc1.shape("weight")?.first().copied().unwrap_or(0),
            false => 4 * dim,
        };
        let y = self.norm(&scope.at("norm2"), x, all)?;
        let widened = Conv { activation: Activation::Gelu, ..self.of_tokens(dim, hidden) };
        let y = self.linear(&fc1, widened, None, ConvInputs::of(y))?;
        self.add(&mlp.at("fc2"), self.of_tokens(hidden, dim), scale("ls2"), y, x)
    }

    /// Returns the parameters of a linear map of every token. It is a 1x1 convolution, because `dense` is made for few
    /// rows.
    fn of_tokens(&self, from: usize, to: usize) -> Conv {
        Conv { bias: true, ..Conv::new([self.batch, self.tokens, 1, from], to, 1) }
    }

    /// Adds a linear layer of the checkpoint. If there is a layer scale, the columns and the bias are multiplied by it.
    fn linear(&mut self, scope: &Scope<'_>, conv: Conv, scale: Option<String>, inputs: ConvInputs) -> Result<ValueId> {
        let (depth, columns) = (conv.depth(), conv.out_channels);
        let factor = scale.map_or(Factor::One, Factor::Tensor);
        let part = |leaf: &str, shape: &[usize]| {
            let source = Source::Tensor(scope.tensor(leaf, shape));
            Vec::from([Part { columns, terms: Vec::from([Term { source, factor: factor.clone() }]) }])
        };
        let weight = Recipe::Matrix { depth, parts: part("weight", &[columns, depth]) };
        let bias = Recipe::Vector { parts: part("bias", &[columns]) };
        Ok(conv_of(self.g, scope.layer(), conv, weight, Some(bias), inputs)?.output)
    }

    /// Adds a linear layer of `y` whose result is added to `x`.
    fn add(&mut self, scope: &Scope<'_>, conv: Conv, scale: Option<String>, y: ValueId, x: ValueId) -> Result<ValueId> {
        let inputs = ConvInputs { residual: Some(x), ..ConvInputs::of(y) };
        self.linear(scope, Conv { residual: Some(1), ..conv }, scale, inputs)
    }

    /// Adds a layer norm of the tokens in `of`.
    fn norm(&mut self, scope: &Scope<'_>, x: ValueId, of: Range<usize>) -> Result<ValueId> {
        let channels = self.config.dim;
        let norm = LayerNorm {
            batch: self.batch,
            tokens: self.tokens,
            first: of.start,
            count: of.len(),
            channels,
            eps: self.config.ln_eps,
        };
        let row = |leaf: &str| Recipe::vector(scope.tensor(leaf, &[channels]), channels);
        let [gamma, beta] = ["weight", "bias"].map(|leaf| self.g.weight(row(leaf)));
        self.g.op1(scope.layer(), norm, &[x, gamma, beta])
    }

    /// Adds the mean of the normalised tokens in `of`.
    fn mean(&mut self, layer: &str, norm: &Scope<'_>, x: ValueId, of: Range<usize>) -> Result<ValueId> {
        // The tokens become the columns of the window, because a GPU shares these between invocations.
        let (batch, height, width, channels) = (self.batch, 1, of.len(), self.config.dim);
        let pool = AvgPool { batch, height, width, channels, kernel: [height, width], load: Load::Plain };
        let normed = self.norm(norm, x, of)?;
        self.g.op1(layer, pool, &[normed])
    }

    /// Adds the selection of each image's first token, as max pooling with a window of one token and a stride over all
    /// tokens.
    fn class_token(&mut self, index: usize, x: ValueId) -> Result<ValueId> {
        let first = MaxPool {
            batch: self.batch,
            height: self.tokens,
            width: 1,
            channels: self.config.dim,
            kernel: [1; 2],
            stride: self.tokens,
            padding: 0,
        };
        self.g.op1(&alloc::format!("blocks.{index}.cls_token"), first, &[x])
    }
}
