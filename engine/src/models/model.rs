//! A model of any kind, as described by a model file's metadata.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{
    ClassifierConfig, HeadConfig, ResNetConfig, UnetConfig, VitConfig, classifier, condition, head, resnet,
    spatial_mean, unet, vit,
};
use crate::program::{Graph, Program, ValueId};
use crate::tensor::{DType, Shape};
use crate::weights::{Checkpoint, ModelFile, Scope, WeightSource, kind_and_config, tensors_of};
use crate::{Error, Result};

/// A model's kind and configuration: the `percept.kind` and `percept.config` of a model file.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// A ResNet encoder.
    ResNet(ResNetConfig),
    /// A vision transformer encoder.
    Vit(VitConfig),
    /// A projector head, which follows an encoder.
    Head(HeadConfig),
    /// A diffusion UNet. It is RCDM's decoder if a representation conditions it.
    Unet(Box<UnetConfig>),
    /// An upsampler: a diffusion UNet that also takes a small image.
    Superres(Box<UnetConfig>),
    /// A classifier of noisy images.
    Classifier(Box<ClassifierConfig>),
}

/// An input of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInput {
    /// The name of the input in the model's programs.
    pub name: &'static str,
    /// The shape, whose first dimension is the batch.
    pub shape: Shape,
    /// The element type: `F32`, or `U32` for classes.
    pub dtype: DType,
}

/// The values that a model's layers produce.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelValues {
    /// The model's results:
    ///
    /// - ResNet: `trunk`, and `logits` if the checkpoint has an `fc`;
    /// - vision transformer: `tokens_mean`, `patch_mean` and `trunk`;
    /// - head: `head`;
    /// - UNet and upsampler: `eps_and_var`;
    /// - classifier: `logits`.
    pub outputs: Vec<(&'static str, ValueId)>,
    /// The values of the layers before the results, in order: `stem`, `layer1`, ... of a ResNet, as spatial means;
    /// `block0`, ... of a vision transformer, as class tokens; `head.0`, ... of a head.
    pub layers: Vec<(String, ValueId)>,
}

impl Model {
    /// The names of all kinds.
    pub const KINDS: [&str; 6] = ["resnet", "vit", "head", "unet", "superres", "classifier"];

    /// Reads the JSON configuration of a model of this kind.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if there is no such kind, or if the configuration is invalid.
    pub fn new(kind: &str, config: &str) -> Result<Self> {
        Ok(match kind {
            "resnet" => Model::ResNet(ResNetConfig::from_json(config)?),
            "vit" => Model::Vit(VitConfig::from_json(config)?),
            "head" => Model::Head(HeadConfig::from_json(config)?),
            "unet" => Model::Unet(Box::new(UnetConfig::of_kind(kind, config)?)),
            "superres" => Model::Superres(Box::new(UnetConfig::of_kind(kind, config)?)),
            "classifier" => Model::Classifier(Box::new(ClassifierConfig::from_json(config)?)),
            _ => {
                let expected = alloc::format!("one of {}", Model::KINDS.join(", "));
                return Err(Error::config("percept.kind", expected, alloc::format!("{kind:?}")));
            }
        })
    }

    /// Returns the model that a model file's metadata describes.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the metadata is missing, and the errors of [`Model::new`].
    pub fn of_file<B: AsRef<[u8]> + Sync>(file: &ModelFile<B>) -> Result<Self> {
        let (kind, config) = kind_and_config(file)?;
        Model::new(kind, config).map_err(|error| error.within(file.name()))
    }

    /// Returns the name of the model's kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Model::ResNet(_) => "resnet",
            Model::Vit(_) => "vit",
            Model::Head(_) => "head",
            Model::Unet(_) => "unet",
            Model::Superres(_) => "superres",
            Model::Classifier(_) => "classifier",
        }
    }

    /// Returns true if the model maps images to representations, at any image size that it supports.
    pub fn is_encoder(&self) -> bool {
        matches!(self, Model::ResNet(_) | Model::Vit(_))
    }

    /// Returns the configuration of the diffusion UNet, or, for a classifier, of the UNet whose downsampling half it
    /// uses. Returns `None` for other models.
    pub fn unet_config(&self) -> Option<UnetConfig> {
        match self {
            Model::Unet(config) | Model::Superres(config) => Some(UnetConfig::clone(config)),
            Model::Classifier(config) => Some(config.unet()),
            Model::ResNet(_) | Model::Vit(_) | Model::Head(_) => None,
        }
    }

    /// Returns the model's inputs, in the order that [`Model::build`] takes them. `size` is the height and width of an
    /// encoder's images; the sizes of other models are part of their configuration.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if an input has more elements than a shape can have.
    pub fn inputs(&self, batch: usize, size: usize) -> Result<Vec<ModelInput>> {
        let input = |name, shape: &[usize], dtype| {
            let shape = Shape::new(shape).map_err(|error| error.within(name))?;
            Ok(ModelInput { name, shape, dtype })
        };
        let image = |name, size: usize| input(name, &[batch, size, size, 3], DType::F32);
        let rows = |name, length: usize| input(name, &[batch, length], DType::F32);
        match self {
            Model::ResNet(_) | Model::Vit(_) => Ok(Vec::from([image("image", size)?])),
            Model::Head(config) => Ok(Vec::from([rows("trunk", config.in_dim())?])),
            Model::Unet(config) | Model::Superres(config) => {
                let mut inputs = Vec::from([image("x", config.image_size)?, rows("time", config.num_channels)?]);
                if config.small_size > 0 {
                    inputs.push(image("low_res", config.small_size)?);
                }
                if config.ssl_dim > 0 {
                    inputs.push(rows("feat", config.ssl_dim)?);
                }
                if config.classes() > 0 {
                    inputs.push(input("labels", &[batch], DType::U32)?);
                }
                Ok(inputs)
            }
            Model::Classifier(config) => {
                Ok(Vec::from([image("x", config.image_size)?, rows("time", config.unet().num_channels)?]))
            }
        }
    }

    /// Builds the program of one forward pass with weights from `source`. Its outputs are [`ModelValues::outputs`].
    /// Also returns the names of the tensors that it reads. For `size`, see [`Model::inputs`].
    ///
    /// # Errors
    /// Returns [`Error::Weights`] if the tensors do not match the configuration, and the errors of [`Model::inputs`].
    pub fn program(&self, source: &dyn WeightSource, batch: usize, size: usize) -> Result<(Program, Vec<String>)> {
        let mut g = Graph::new();
        let inputs = self.add_inputs(&mut g, batch, size)?;
        let checkpoint = Checkpoint::new(source);
        let values = self.build(&mut g, &checkpoint.root(), &inputs)?;
        values.outputs.iter().for_each(|(name, value)| g.output(name, *value));
        let tensors = checkpoint.finish(&alloc::format!("a {} of its configuration", self.kind()))?;
        let outputs: Vec<&str> = values.outputs.iter().map(|(name, _)| *name).collect();
        Ok((g.finish()?.up_to(&outputs)?, tensors))
    }

    /// Returns the names and shapes of the tensors that the model reads from any checkpoint of its configuration.
    /// Optional parts (a ResNet's `fc`, the batch norms of DINO's head) are left out. For `size`, see
    /// [`Model::inputs`].
    ///
    /// # Errors
    /// Returns the errors of [`Model::inputs`].
    pub fn tensors(&self, size: usize) -> Result<BTreeMap<String, Shape>> {
        let mut g = Graph::new();
        let inputs = self.add_inputs(&mut g, 1, size)?;
        tensors_of(|scope| self.build(&mut g, scope, &inputs).map(|_| ()))
    }

    fn add_inputs(&self, g: &mut Graph, batch: usize, size: usize) -> Result<Vec<ValueId>> {
        let add = |ModelInput { name, shape, dtype }| match dtype {
            DType::U32 => g.input_u32(name, shape),
            DType::F32 | DType::F16 => g.input(name, shape),
        };
        Ok(self.inputs(batch, size)?.into_iter().map(add).collect())
    }

    /// Adds the model's layers to a graph. `inputs` are the values of [`Model::inputs`], in order.
    ///
    /// # Errors
    /// Returns an error if the shape of an input does not match the model.
    ///
    /// # Panics
    /// Panics if there are fewer inputs than the model has.
    pub fn build(&self, g: &mut Graph, scope: &Scope<'_>, inputs: &[ValueId]) -> Result<ModelValues> {
        let mut inputs = inputs.iter().copied();
        let mut next = || inputs.next().expect("a value for each of the model's inputs");
        Ok(match self {
            Model::ResNet(config) => {
                let values = resnet(g, config, scope, next())?;
                let mean = |(name, stage): (String, ValueId)| Ok((name.clone(), spatial_mean(g, &name, stage)?));
                let layers = values.stages.into_iter().map(mean).collect::<Result<_>>()?;
                let logits = values.logits.map(|logits| ("logits", logits));
                ModelValues { outputs: [("trunk", values.trunk)].into_iter().chain(logits).collect(), layers }
            }
            Model::Vit(config) => {
                let values = vit(g, config, scope, next())?;
                let outputs =
                    [("tokens_mean", values.tokens_mean), ("patch_mean", values.patch_mean), ("trunk", values.trunk)];
                ModelValues { outputs: outputs.into(), layers: values.blocks }
            }
            Model::Head(config) => {
                let values = head(g, config, scope, next())?;
                let last = *values.last().expect("a head has at least one layer");
                let layers = (0..).zip(values).map(|(index, value)| (alloc::format!("head.{index}"), value));
                ModelValues { outputs: Vec::from([("head", last)]), layers: layers.collect() }
            }
            Model::Unet(config) | Model::Superres(config) => {
                let (x, time) = (next(), next());
                let low_res = (config.small_size > 0).then(&mut next);
                let feat = (config.ssl_dim > 0).then(&mut next);
                let labels = (config.classes() > 0).then(&mut next);
                let mut condition = condition(g, config, scope, feat, labels)?;
                if let Some(low_res) = low_res {
                    condition = condition.with_low_res(g, config, low_res)?;
                }
                let output = unet(g, config, scope, x, time, &condition)?;
                ModelValues { outputs: Vec::from([("eps_and_var", output)]), layers: Vec::new() }
            }
            Model::Classifier(config) => {
                let (x, time) = (next(), next());
                let logits = classifier(g, config, scope, x, time)?;
                ModelValues { outputs: Vec::from([("logits", logits)]), layers: Vec::new() }
            }
        })
    }
}
