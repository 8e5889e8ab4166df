//! From an image to its representation.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::device::Device;
use super::mapped::{MappedModel, config_of, open_model};
use super::preprocessing::{Preprocessing, to_input};
use super::sampling::check_finite;
use crate::models::{HeadConfig, ResNetConfig, VitConfig, head, resnet, vit};
use crate::program::{Executor, Graph, Program};
use crate::weights::{Checkpoint, WeightSource, kind_and_config};
use crate::{Error, Result};

/// An encoder on a device: preprocessing, a ResNet or vision transformer, and maybe its projector head.
pub struct Encoder {
    preprocessing: Preprocessing,
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
        let model = open_model(encoder)?;
        let preprocessing = match preprocessing {
            Some(given) => given,
            None => preprocessing_of(&model)?,
        };
        let (program, dim) = trunk(&model, preprocessing.size() as usize)?;
        let trunk = device.load(Arc::new(program), &model)?;

        let mut encoder = Encoder { preprocessing, trunk, head: None, dim, models: vec![model] };
        if let Some(path) = head {
            encoder.add_head(path, device)?;
        }
        Ok(encoder)
    }

    fn add_head(&mut self, path: &Path, device: &Device) -> Result<()> {
        let model = open_model(path)?;
        let config = config_of(&model, "head", HeadConfig::from_json)?;
        if config.in_dim() != self.dim {
            let expected = format!("a head for the encoder's {} features", self.dim);
            return Err(Error::file(model.name(), expected, format!("one for {}", config.in_dim())));
        }
        let mut g = Graph::new();
        let trunk = g.input("trunk", [1, self.dim]);
        let checkpoint = Checkpoint::new(&model);
        let layers = head(&mut g, &config, &checkpoint.root(), trunk)?;
        checkpoint.finish("a head of its configuration")?;
        g.output("head", layers[layers.len() - 1]);
        self.head = Some(device.load(Arc::new(g.finish()?), &model)?);
        self.dim = config.out_dim();
        self.models.push(model);
        Ok(())
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
        let mut h = run(self.trunk.as_mut(), "image", &to_input(&crop), "trunk")?;
        if let Some(head) = &mut self.head {
            h = run(head.as_mut(), "trunk", &h, "head")?;
        }
        Ok(h)
    }
}

/// What gives the representation `trunk` of an `image` of so many pixels a side, by a model file of a kind that does; and
/// how many elements it has.
fn trunk(model: &MappedModel, size: usize) -> Result<(Program, usize)> {
    let (kind, config) = kind_and_config(model)?;
    let within = |error: Error| error.within(model.name());
    let mut g = Graph::new();
    let image = g.input("image", [1, size, size, 3]);
    let checkpoint = Checkpoint::new(model);
    let scope = checkpoint.root();
    let (trunk, dim) = match kind {
        "resnet" => {
            let config = ResNetConfig::from_json(config).map_err(within)?;
            (resnet(&mut g, &config, &scope, image).map_err(within)?.trunk, config.trunk_dim())
        }
        "vit" => {
            let config = VitConfig::from_json(config).map_err(within)?;
            (vit(&mut g, &config, &scope, image).map_err(within)?.trunk, config.dim)
        }
        other => {
            let expected = "a model of kind \"resnet\" or \"vit\"";
            return Err(Error::file(model.name(), expected, format!("{other:?}")));
        }
    };
    drop(scope);
    checkpoint.finish(&format!("a {kind} of its configuration"))?;
    g.output("trunk", trunk);
    Ok((g.finish()?, dim))
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

fn run(executor: &mut dyn Executor, input: &str, data: &[f32], output: &str) -> Result<Vec<f32>> {
    executor.write(input, data)?;
    let ops = executor.program().body();
    executor.run(ops.clone())?;
    let result = executor.read(output)?;
    check_finite(output, &result).or_else(|error| match executor.find_non_finite(ops)? {
        Some(layer) => Err(Error::not_finite(layer, "finite values", "NaN or an infinity")),
        None => Err(error),
    })?;
    Ok(result)
}
