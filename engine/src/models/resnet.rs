//! ResNets (He et al. 2015, <https://arxiv.org/abs/1512.03385>) under torchvision's names, with the stride
//! in the 3x3 convolution of a bottleneck ("v1.5").

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use super::layers::{ConvInputs, conv_bn, linear, spatial_mean};
use crate::kernels::{Activation, Conv, Dense, MaxPool};
use crate::program::{Graph, ValueId};
use crate::weights::Scope;
use crate::{Error, Result};

/// The maximum number of blocks of a stage, so that a number in a file cannot make building a program take arbitrarily
/// long. The deepest of He et al. has 200.
const MAX_BLOCKS: usize = 256;

/// The two kinds of residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// A 1x1, a 3x3 and a 1x1 convolution, the last of which has four times as many channels.
    Bottleneck,
}

/// The architecture of a ResNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// The kind of its blocks.
    pub block: BlockKind,
    /// The number of blocks of each stage.
    pub layers: Vec<usize>,
    /// The number of channels of the stem and of planes of the first stage. Each further stage doubles the planes.
    pub width: usize,
    /// The number of channels of a bottleneck's 3x3 convolution per 64 planes: 64, or 128 in torchvision's wide
    /// ResNets.
    pub width_per_group: usize,
}

#[derive(Deserialize)]
struct Json {
    arch: Option<String>,
    block: Option<BlockKind>,
    layers: Option<Vec<usize>>,
    width: Option<usize>,
}

impl ResNetConfig {
    /// Reads `{"arch": "resnet50"}`, or `{"block": "basic", "layers": [1, 1, 1, 1], "width": 32}`.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if the architecture is unknown, or if a field is missing or out of range.
    pub fn from_json(json: &str) -> Result<Self> {
        let json: Json = super::parse("percept.config of a resnet", json)?;
        if let Some(arch) = json.arch {
            return Self::named(&arch);
        }
        let (Some(block), Some(layers)) = (json.block, json.layers) else {
            let expected = "\"arch\", or \"block\" and \"layers\"";
            return Err(Error::config("percept.config of a resnet", expected, "neither"));
        };
        let width = json.width.unwrap_or(64);
        let is_odd = |blocks: &usize| *blocks == 0 || *blocks > MAX_BLOCKS;
        if layers.is_empty() || layers.len() > 8 || layers.iter().any(is_odd) || width == 0 || width > 4096 {
            let got = alloc::format!("layers {layers:?}, width {width}");
            return Err(Error::config(
                "percept.config of a resnet",
                alloc::format!("1 to 8 stages of 1 to {MAX_BLOCKS} blocks, width 1 to 4096"),
                got,
            ));
        }
        Ok(ResNetConfig { block, layers, width, width_per_group: 64 })
    }

    /// The names of torchvision's ResNets.
    pub const ARCHITECTURES: [&str; 7] =
        ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"];

    /// Returns the configuration of one of torchvision's [`ResNetConfig::ARCHITECTURES`].
    ///
    /// # Errors
    /// Returns [`Error::Config`], which lists the names that exist, if `arch` is not one of them.
    pub fn named(arch: &str) -> Result<Self> {
        use BlockKind::{Basic, Bottleneck};
        let (block, layers, width_per_group) = match arch {
            "resnet18" => (Basic, [2, 2, 2, 2], 64),
            "resnet34" => (Basic, [3, 4, 6, 3], 64),
            "resnet50" => (Bottleneck, [3, 4, 6, 3], 64),
            "resnet101" => (Bottleneck, [3, 4, 23, 3], 64),
            "resnet152" => (Bottleneck, [3, 8, 36, 3], 64),
            "wide_resnet50_2" => (Bottleneck, [3, 4, 6, 3], 128),
            "wide_resnet101_2" => (Bottleneck, [3, 4, 23, 3], 128),
            _ => {
                let expected = "resnet18, 34, 50, 101 or 152, wide_resnet50_2 or wide_resnet101_2";
                return Err(Error::config("arch", expected, arch));
            }
        };
        Ok(ResNetConfig { block, layers: layers.to_vec(), width: 64, width_per_group })
    }

    fn expansion(&self) -> usize {
        if self.block == BlockKind::Basic { 1 } else { 4 }
    }

    /// Returns the number of elements of the representation after the last stage.
    pub fn trunk_dim(&self) -> usize {
        (self.width << (self.layers.len() - 1)) * self.expansion()
    }
}

/// The values of a ResNet that can be read.
pub struct ResNetValues {
    /// `stem` (after max pooling), `layer1`, ...: `[n, h, w, c]`.
    pub stages: Vec<(String, ValueId)>,
    /// The spatial mean of the last stage, `[n, 1, 1, c]`.
    pub trunk: ValueId,
    /// The class scores, `[n, classes]`, if the checkpoint has an `fc`.
    pub logits: Option<ValueId>,
}

/// Adds a ResNet for `image [n, h, w, 3]`.
///
/// # Errors
/// Returns an error if the image is too small.
pub fn resnet(g: &mut Graph, config: &ResNetConfig, scope: &Scope<'_>, image: ValueId) -> Result<ResNetValues> {
    let stem = Conv { stride: 2, activation: Activation::Relu, ..Conv::new(g.image_shape(image)?, config.width, 7) };
    let x = conv_bn(g, &scope.at("conv1"), &scope.at("bn1"), stem, ConvInputs::of(image))?;
    let [batch, height, width, channels] = g.image_shape(x)?;
    let pool = MaxPool { batch, height, width, channels, kernel: [3; 2], stride: 2, padding: 1 };
    let mut x = g.op1("maxpool", pool, &[x])?;

    let mut stages = Vec::from([(String::from("stem"), x)]);
    for (stage, &blocks) in config.layers.iter().enumerate() {
        let name = alloc::format!("layer{}", stage + 1);
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let scope = scope.at(&name).at(block);
            x = match config.block {
                BlockKind::Basic => basic(g, &scope, x, config.width << stage, stride)?,
                BlockKind::Bottleneck => {
                    let planes = config.width << stage;
                    bottleneck(g, &scope, x, planes * config.width_per_group / 64, planes * config.expansion(), stride)?
                }
            };
        }
        stages.push((name, x));
    }
    let trunk = spatial_mean(g, "avgpool", x)?;

    let fc = scope.at("fc");
    let logits = if fc.has("weight") {
        let shape = fc.shape("weight")?;
        let classes = Dense {
            rows: batch,
            in_features: config.trunk_dim(),
            out_features: shape.first().copied().unwrap_or(0),
            bias: true,
            residual: false,
            activation: Activation::Identity,
        };
        Some(linear(g, &fc, None, classes, trunk, None)?)
    } else {
        None
    };
    Ok(ResNetValues { stages, trunk, logits })
}

/// Adds `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`.
fn basic(g: &mut Graph, scope: &Scope<'_>, x: ValueId, planes: usize, stride: usize) -> Result<ValueId> {
    let shortcut = downsample(g, scope, x, planes, stride)?;
    let first = Conv { stride, activation: Activation::Relu, ..Conv::new(g.image_shape(x)?, planes, 3) };
    let y = conv_bn(g, &scope.at("conv1"), &scope.at("bn1"), first, ConvInputs::of(x))?;
    let second = Conv { residual: Some(1), activation: Activation::Relu, ..Conv::new(g.image_shape(y)?, planes, 3) };
    let inputs = ConvInputs { residual: Some(shortcut), ..ConvInputs::of(y) };
    conv_bn(g, &scope.at("conv2"), &scope.at("bn2"), second, inputs)
}

/// Adds `relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x))`.
fn bottleneck(
    g: &mut Graph,
    scope: &Scope<'_>,
    x: ValueId,
    inner: usize,
    out: usize,
    stride: usize,
) -> Result<ValueId> {
    let shortcut = downsample(g, scope, x, out, stride)?;
    let first = Conv { activation: Activation::Relu, ..Conv::new(g.image_shape(x)?, inner, 1) };
    let y = conv_bn(g, &scope.at("conv1"), &scope.at("bn1"), first, ConvInputs::of(x))?;
    let second = Conv { stride, activation: Activation::Relu, ..Conv::new(g.image_shape(y)?, inner, 3) };
    let y = conv_bn(g, &scope.at("conv2"), &scope.at("bn2"), second, ConvInputs::of(y))?;
    let third = Conv { residual: Some(1), activation: Activation::Relu, ..Conv::new(g.image_shape(y)?, out, 1) };
    let inputs = ConvInputs { residual: Some(shortcut), ..ConvInputs::of(y) };
    conv_bn(g, &scope.at("conv3"), &scope.at("bn3"), third, inputs)
}

/// Returns `x` itself, or adds a 1x1 convolution if the block changes the shape.
fn downsample(g: &mut Graph, scope: &Scope<'_>, x: ValueId, out: usize, stride: usize) -> Result<ValueId> {
    let shape = g.image_shape(x)?;
    if shape[3] == out && stride == 1 {
        return Ok(x);
    }
    let scope = scope.at("downsample");
    let conv = Conv { stride, ..Conv::new(shape, out, 1) };
    conv_bn(g, &scope.at(0), &scope.at(1), conv, ConvInputs::of(x))
}
