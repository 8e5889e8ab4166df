//! The classifier of noisy images that guides ADM's samplers (Dhariwal and Nichol 2021,
//! <https://arxiv.org/abs/2105.05233>; `EncoderUNetModel` of guided-diffusion). It consists of the downsampling half
//! and the middle of a UNet, followed by pooling.

use super::layers::{ConvInputs, linear, plain_dense, spatial_mean};
use super::unet_blocks::Builder;
use super::unet_layout::encoder_layout;
use super::{ClassifierConfig, Condition, Pool};
use crate::kernels::{Activation, Attention, AvgPool, Concat, Conv, Dense, QkvOrder, Tokens};
use crate::program::{Graph, ValueId};
use crate::weights::{Recipe, Scope};
use crate::{Error, Result, Shape};

/// The width of the hidden layer after spatial pooling.
const SPATIAL_HIDDEN: usize = 2048;

/// Adds the classifier for `x [n, h, w, 3]` and the sinusoidal embedding of the timestep, `time [n, num_channels]`.
/// Returns the logits, `[n, out_channels]`.
///
/// # Errors
/// Returns an error if the shapes do not match the configuration.
pub fn classifier(
    g: &mut Graph,
    config: &ClassifierConfig,
    scope: &Scope<'_>,
    x: ValueId,
    time: ValueId,
) -> Result<ValueId> {
    let [_, height, width, _] = g.image_shape(x)?;
    if [height, width] != [config.image_size; 2] {
        let expected = alloc::format!("{0}x{0} pixels", config.image_size);
        return Err(Error::shape("x of a classifier", expected, alloc::format!("{height}x{width}")));
    }
    let unet = config.unet();
    let stages = encoder_layout(&unet)?;
    let condition = Condition::default();
    let mut builder = Builder::new(g, &unet, scope, &stages, time, &condition)?;
    let results = builder.stages(&stages, x)?;
    let last = results.last().copied().unwrap_or(x);
    match config.pool {
        Pool::Attention => attention_pool(&mut builder, config, &scope.at("out"), last),
        Pool::Adaptive => adaptive_pool(&mut builder, config, &scope.at("out"), last),
        Pool::Spatial => spatial_pool(g, config, &scope.at("out"), &results),
    }
}

/// Adds `AttentionPool2d`: attention over the tokens `(mean ++ pixels) + positional_embedding`, of which the first
/// token is the result.
fn attention_pool(
    builder: &mut Builder<'_, '_>,
    config: &ClassifierConfig,
    scope: &Scope<'_>,
    x: ValueId,
) -> Result<ValueId> {
    let [batch, height, width, channels] = builder.g.image_shape(x)?;
    let rows = builder.group_norm("out.0", x, None, None)?;
    // Both the pixels and their mean are read, so pooling over windows of one pixel materialises the activation.
    let each = AvgPool { batch, height, width, channels, kernel: [1, 1], load: rows.load(Activation::Silu) };
    let pixels = builder.g.op1(&scope.name("1"), each, &[x, rows.value])?;

    let pool = scope.at("2");
    let mean = spatial_mean(builder.g, &pool.name("mean"), pixels)?;
    let tokens = Tokens { batch, height, width, channels, prefix: 1, own_prefix: true };
    let count = tokens.tokens();
    let tensor = pool.tensor("positional_embedding", &[channels, count]);
    let positions = builder.g.weight(Recipe::Transposed { tensor, shape: Shape::from([count, channels]) });
    let tokens = builder.g.op1(&pool.name("positional_embedding"), tokens, &[pixels, positions, mean])?;

    // Tokens are stored as an image of height t and width 1.
    let of_tokens = |columns| Conv::new([batch, count, 1, channels], columns, 1);
    let qkv = builder.token_linear(&pool.at("qkv_proj"), of_tokens(3 * channels), ConvInputs::of(tokens))?;
    let head_channels = usize::try_from(config.num_head_channels).unwrap_or(channels);
    let (heads, order) = (channels / head_channels, QkvOrder::QkvFirst);
    let attention = Attention { batch, height: count, width: 1, heads, head_channels, order };
    let y = builder.g.op1(&pool.name("attention"), attention, &[qkv])?;
    // The stride is the number of tokens, so that only the first token is projected to logits.
    let first = Conv { stride: count, ..of_tokens(config.out_channels) };
    builder.token_linear(&pool.at("c_proj"), first, ConvInputs::of(y))
}

/// Adds the mean of the pixels after norm and SiLU, and a linear map of it as a 1x1 convolution.
fn adaptive_pool(
    builder: &mut Builder<'_, '_>,
    config: &ClassifierConfig,
    scope: &Scope<'_>,
    x: ValueId,
) -> Result<ValueId> {
    let [batch, height, width, channels] = builder.g.image_shape(x)?;
    let rows = builder.group_norm("out.0", x, None, None)?;
    let all = AvgPool { batch, height, width, channels, kernel: [height, width], load: rows.load(Activation::Silu) };
    let mean = builder.g.op1(&scope.name("2"), all, &[x, rows.value])?;
    let last = Conv { bias: true, ..Conv::new([batch, 1, 1, channels], config.out_channels, 1) };
    builder.conv(&scope.at("3"), last, ConvInputs::of(mean))
}

/// Concatenates the spatial means of the results of all blocks, and adds two linear layers with a ReLU between them.
fn spatial_pool(g: &mut Graph, config: &ClassifierConfig, scope: &Scope<'_>, results: &[ValueId]) -> Result<ValueId> {
    let mut features: Option<ValueId> = None;
    for (index, &result) in results.iter().enumerate() {
        let mean = spatial_mean(g, &alloc::format!("mean.{index}"), result)?;
        features = Some(match features {
            None => mean,
            Some(before) => {
                let [batch, .., first] = g.image_shape(before)?;
                let channels = [first, g.image_shape(mean)?[3]];
                g.op1(
                    &alloc::format!("means.{index}"),
                    Concat { batch, height: 1, width: 1, channels },
                    &[before, mean],
                )?
            }
        });
    }
    let features = features.ok_or_else(|| Error::config("num_res_blocks", "a classifier with blocks", "none"))?;
    let hidden = Dense { activation: Activation::Relu, ..plain_dense(g, features, SPATIAL_HIDDEN) };
    let hidden = linear(g, &scope.at("0"), None, hidden, features, None)?;
    let last = plain_dense(g, hidden, config.out_channels);
    linear(g, &scope.at("2"), None, last, hidden, None)
}
