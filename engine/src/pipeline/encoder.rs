//! From an image to its representation.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::device::Device;
use super::mapped::{MappedModel, config_of, open_model};
use super::preprocessing::{Preprocessing, to_input};
use super::sampling::check_finite;
use crate::models::{HeadConfig, ResNetConfig, VitConfig, head, resnet, spatial_mean, vit};
use crate::program::{Executor, Graph, Program, ValueId};
use crate::weights::{Checkpoint, WeightSource, kind_and_config};
use crate::{Error, Result};

/// An encoder on a device: preprocessing, a ResNet or vision transformer, and maybe its projector head, up to the layer whose
/// values are the representation.
pub struct Encoder {
    preprocessing: Preprocessing,
    layer: String,
    trunk: Box<dyn Executor>,
    head: Option<Box<dyn Executor>>,
    dim: usize,
    models: Vec<MappedModel>,
}

impl Encoder {
    /// Opens an encoder's model file, and its head's where the head's result is the representation.
    /// Without `preprocessing` it is the one that the encoder's file names, else RCDM's at 224.
    ///
    /// # Errors
    /// Where a file is missing or foreign, its tensors do not fit its configuration, the head takes another
    /// representation than the encoder gives, or a vision transformer's patches do not fill the images that the
    /// preprocessing makes.
    pub fn open(
        encoder: &Path,
        head: Option<&Path>,
        preprocessing: Option<Preprocessing>,
        device: &Device,
    ) -> Result<Self> {
        Encoder::open_layer(encoder, head, if head.is_some() { "head" } else { "trunk" }, preprocessing, device)
    }

    /// The same where any layer's values are the representation (Guillotine Regularization, Bordes et al. 2022,
    /// <https://arxiv.org/abs/2206.13378>). What lies behind the layer is neither loaded nor computed.
    ///
    /// Layers of a ResNet are `stem`, `layer1`, ...: spatial means; of a vision transformer `block0`, ...: class tokens,
    /// `tokens_mean` and `patch_mean`; of both `trunk`. Those of a head are `head.0`, ..., after each linear layer's norm and
    /// activation, and `head`, which is the last.
    ///
    /// # Errors
    /// As [`Encoder::open`], and [`Error::Config`] with the layers that there are.
    pub fn open_layer(
        encoder: &Path,
        head: Option<&Path>,
        layer: &str,
        preprocessing: Option<Preprocessing>,
        device: &Device,
    ) -> Result<Self> {
        // Before files are looked for.
        is_of_head(layer, head.is_some())?;
        let head = head.map(open_model).transpose()?;
        Encoder::of(open_model(encoder)?, head, layer, preprocessing, device)
    }

    /// The same of models that are open, or [made up](super::untrained).
    ///
    /// # Errors
    /// As [`Encoder::open_layer`].
    pub fn of(
        model: MappedModel,
        head: Option<MappedModel>,
        layer: &str,
        preprocessing: Option<Preprocessing>,
        device: &Device,
    ) -> Result<Self> {
        let preprocessing = match preprocessing {
            Some(given) => given,
            None => preprocessing_of(&model)?,
        };
        let is_of_head = is_of_head(layer, head.is_some())?;
        let of_trunk = if is_of_head { "trunk" } else { layer };
        let (program, dim) = trunk(&model, preprocessing.size() as usize, of_trunk)?;
        let trunk = device.load(Arc::new(program), &model)?;

        let layer = layer.to_string();
        let mut encoder = Encoder { preprocessing, layer, trunk, head: None, dim, models: vec![model] };
        if let Some(head) = head {
            encoder.add_head(head, device)?;
        }
        Ok(encoder)
    }

    fn add_head(&mut self, model: MappedModel, device: &Device) -> Result<()> {
        let config = config_of(&model, "head", HeadConfig::from_json)?;
        if config.in_dim() != self.dim {
            let expected = format!("a head for the encoder's {} features", self.dim);
            return Err(Error::file(model.name(), expected, format!("one for {}", config.in_dim())));
        }
        let mut g = Graph::new();
        let trunk = g.input("trunk", [1, self.dim]);
        let checkpoint = Checkpoint::new(&model);
        let values = head(&mut g, &config, &checkpoint.root(), trunk)?;
        checkpoint.finish("a head of its configuration")?;
        let mut layers: Vec<(String, ValueId)> =
            values.iter().enumerate().map(|(index, value)| (format!("head.{index}"), *value)).collect();
        layers.push(("head".to_string(), values[values.len() - 1]));
        let program = up_to_layer(g, &layers, &self.layer, model.name())?;
        self.dim = dim_of(&program)?;
        self.head = Some(device.load(Arc::new(program), &model)?);
        self.models.push(model);
        Ok(())
    }

    /// The programs that it runs, one after the other: the trunk's, and maybe the head's.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        [Some(&self.trunk), self.head.as_ref()].into_iter().flatten().map(|executor| executor.program())
    }

    /// The layer whose values are the representation.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Elements of the representation.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// What is done to an image before it is encoded.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The files that the encoder was made of: the trunk's and maybe the head's.
    pub fn models(&self) -> &[MappedModel] {
        &self.models
    }

    /// The representation of an image, of [`Encoder::dim`] elements.
    ///
    /// # Errors
    /// Where the image is too small to be cropped, the device fails or the result is not finite.
    pub fn encode(&mut self, image: &RgbImage) -> Result<Vec<f32>> {
        let crop = self.preprocessing.crop(image)?;
        let mut h = run(self.trunk.as_mut(), "image", &to_input(&crop))?;
        if let Some(head) = &mut self.head {
            h = run(head.as_mut(), "trunk", &h)?;
        }
        Ok(h)
    }
}

/// Whether a layer is one of the head, which then has to be there, and otherwise not.
fn is_of_head(layer: &str, has_head: bool) -> Result<bool> {
    let is_of_head = layer == "head" || layer.starts_with("head.");
    match (has_head, is_of_head) {
        (false, true) => Err(Error::config("layer", "a layer of the encoder, for there is no head", layer)),
        (true, false) => Err(Error::config("layer", "one of the head, which is given", layer)),
        _ => Ok(is_of_head),
    }
}

/// What gives the values of a layer for an `image` of so many pixels a side, by a model file of a kind that does; and how many
/// elements they have.
fn trunk(model: &MappedModel, size: usize, layer: &str) -> Result<(Program, usize)> {
    let (kind, config) = kind_and_config(model)?;
    let within = |error: Error| error.within(model.name());
    let mut g = Graph::new();
    let image = g.input("image", [1, size, size, 3]);
    let checkpoint = Checkpoint::new(model);
    let scope = checkpoint.root();
    let layers = match kind {
        "resnet" => {
            let config = ResNetConfig::from_json(config).map_err(within)?;
            let values = resnet(&mut g, &config, &scope, image).map_err(within)?;
            let mut layers = Vec::new();
            for (name, stage) in values.stages {
                let mean = spatial_mean(&mut g, &name, stage)?;
                layers.push((name, mean));
            }
            layers.push(("trunk".to_string(), values.trunk));
            layers
        }
        "vit" => {
            let config = VitConfig::from_json(config).map_err(within)?;
            let values = vit(&mut g, &config, &scope, image).map_err(within)?;
            let ends =
                [("tokens_mean", values.tokens_mean), ("patch_mean", values.patch_mean), ("trunk", values.trunk)];
            let mut layers = values.blocks;
            layers.extend(ends.map(|(name, value)| (name.to_string(), value)));
            layers
        }
        other => {
            let expected = "a model of kind \"resnet\" or \"vit\"";
            return Err(Error::file(model.name(), expected, format!("{other:?}")));
        }
    };
    drop(scope);
    checkpoint.finish(&format!("a {kind} of its configuration"))?;
    let program = up_to_layer(g, &layers, layer, model.name())?;
    let dim = dim_of(&program)?;
    Ok((program, dim))
}

/// The program that computes one of the layers and nothing behind it, as its output `h`.
fn up_to_layer(mut g: Graph, layers: &[(String, ValueId)], layer: &str, file: &str) -> Result<Program> {
    let Some((_, value)) = layers.iter().find(|(name, _)| name == layer) else {
        let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        let expected = format!("one of {} of {file}", names.join(", "));
        return Err(Error::config("layer", expected, format!("{layer:?}")));
    };
    g.output("h", *value);
    g.finish()?.up_to(&["h"])
}

/// Elements of a program's `h`.
fn dim_of(program: &Program) -> Result<usize> {
    Ok(program.value(program.output("h")?).shape.elements())
}

/// The preprocessing that an encoder's model file names, else RCDM's at 224.
///
/// # Errors
/// [`Error::File`] where it names none that exists.
pub(crate) fn preprocessing_of(model: &MappedModel) -> Result<Preprocessing> {
    match model.metadata("percept.preprocessing") {
        Some(json) => serde_json::from_str(json)
            .map_err(|error| Error::file(model.name(), "a preset and a size in percept.preprocessing", error)),
        None => Preprocessing::new("rcdm", 224),
    }
}

fn run(executor: &mut dyn Executor, input: &str, data: &[f32]) -> Result<Vec<f32>> {
    executor.write(input, data)?;
    let ops = executor.program().body();
    executor.run(ops.clone())?;
    let result = executor.read("h")?;
    check_finite("h", &result).or_else(|error| match executor.find_non_finite(ops)? {
        Some(layer) => Err(Error::not_finite(layer, "finite values", "NaN or an infinity")),
        None => Err(error),
    })?;
    Ok(result)
}
