//! ResNets under torchvision's names, up to the mean over the pixels ("trunk").

use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, activation::relu, module};
use serde::Deserialize;

use crate::Result;
use crate::layers::{Conv, Loader};

/// What the architecture is.
pub struct Config {
    bottleneck: bool,
    layers: Vec<usize>,
    /// Channels of the stem.
    pub width: usize,
}

impl Config {
    pub fn resnet50() -> Self {
        Config { bottleneck: true, layers: vec![3, 4, 6, 3], width: 64 }
    }

    /// Reads `{"arch": "resnet50"}`, or `{"block": "basic", "layers": [1, 1, 1, 1], "width": 32}`.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Json {
            arch: Option<String>,
            block: Option<String>,
            layers: Option<Vec<usize>>,
            width: Option<usize>,
        }
        let json: Json = serde_json::from_str(json)?;
        let bottleneck = match (json.arch.as_deref(), json.block.as_deref()) {
            (Some("resnet50"), _) => return Ok(Self::resnet50()),
            (Some(other), _) => return Err(format!("arch: expected resnet50, got {other:?}").into()),
            (None, Some("basic")) => false,
            (None, Some("bottleneck")) => true,
            (None, other) => return Err(format!("block: expected basic or bottleneck, got {other:?}").into()),
        };
        let layers = json.layers.filter(|layers| !layers.is_empty() && layers.len() <= 8);
        let layers = layers.ok_or("layers: expected the blocks of 1 to 8 stages")?;
        Ok(Config { bottleneck, layers, width: json.width.unwrap_or(64) })
    }
}

pub struct ResNet {
    stem: Conv,
    blocks: Vec<Block>,
}

/// Convolutions with ReLU between them, and after the shortcut is added.
struct Block {
    convs: Vec<Conv>,
    downsample: Option<Conv>,
}

impl ResNet {
    pub fn load(loader: &Loader<'_>, config: &Config) -> Result<Self> {
        let stem = loader.conv_bn("conv1", "bn1", [config.width, 3, 7], 2)?;
        let (mut blocks, mut channels) = (Vec::new(), config.width);
        for (stage, &count) in config.layers.iter().enumerate() {
            let planes = config.width << stage;
            for block in 0..count {
                let name = format!("layer{}.{block}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                // Channels in, channels out, kernel, stride; the stride is the 3x3 convolution's.
                let plan: &[[usize; 4]] = if config.bottleneck {
                    &[[channels, planes, 1, 1], [planes, planes, 3, stride], [planes, 4 * planes, 1, 1]]
                } else {
                    &[[channels, planes, 3, stride], [planes, planes, 3, 1]]
                };
                let convs = (1..).zip(plan).map(|(index, &[inputs, out, kernel, stride])| {
                    let (conv, norm) = (format!("{name}.conv{index}"), format!("{name}.bn{index}"));
                    loader.conv_bn(&conv, &norm, [out, inputs, kernel], stride)
                });
                let convs = convs.collect::<Result<_>>()?;
                let out = if config.bottleneck { 4 * planes } else { planes };
                let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
                let changes = channels != out || stride != 1;
                let downsample =
                    changes.then(|| loader.conv_bn(&conv, &norm, [out, channels, 1], stride)).transpose()?;
                blocks.push(Block { convs, downsample });
                channels = out;
            }
        }
        Ok(ResNet { stem, blocks })
    }

    /// `[n, 3, h, w]` to `[n, channels]`.
    pub fn forward(&self, image: Tensor<4>) -> Tensor<2> {
        let pool = MaxPoolOptions::new([3; 2]).with_stride([2; 2]).with_padding([1; 2]);
        let x = module::max_pool2d(relu(self.stem.forward(image)), pool);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        module::adaptive_avg_pool2d(x, [1; 2]).flatten(1, 3)
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = self.downsample.as_ref().map_or(x.clone(), |conv| conv.forward(x.clone()));
        let last = self.convs.len() - 1;
        let y = self.convs[..last].iter().fold(x, |x, conv| relu(conv.forward(x)));
        relu(self.convs[last].forward(y) + shortcut)
    }
}
