//! From images to their representations.

mod programs;

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::batch::{BATCH_BYTES, HOST_BATCH_BYTES, even_batch, sensible_batch};
use super::device::{Device, DeviceWeights};
use super::mapped::{MappedModel, open_model};
use super::preprocessing::Preprocessing;
use super::sampling::check_finite;
use crate::program::{Executor, Program};
use crate::{Error, Result};

/// An encoder on a device: preprocessing, a ResNet or vision transformer, and maybe its projector head, up to the layer whose
/// values are the representation.
pub struct Encoder {
    preprocessing: Preprocessing,
    layer: String,
    dim: usize,
    /// The most images of a batch.
    batch: usize,
    device: Device,
    /// The trunk's, and maybe the head's.
    models: Vec<MappedModel>,
    loaded: Loaded,
}

/// An encoder's programs for one size of batch and of images, one behind the other.
struct Loaded {
    batch: usize,
    weights: Vec<DeviceWeights>,
    executors: Vec<Box<dyn Executor>>,
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
        check_part(layer, head.is_some())?;
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
            None => Preprocessing::named_by(&model)?.unwrap_or_default(),
        };
        check_part(layer, head.is_some())?;
        let models: Vec<MappedModel> = [Some(model), head].into_iter().flatten().collect();
        let programs = programs(&models, 1, &preprocessing, layer)?;
        let dim = programs::dim(&programs[programs.len() - 1])?;
        let batch = batch_of(&programs[0], device);
        let loaded = Loaded::new(&models, programs, device)?;
        Ok(Encoder { preprocessing, layer: layer.into(), dim, batch, device: device.clone(), models, loaded })
    }

    /// Prepares images in another way from now on. Where they have another size then, the models are loaded again.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn set_preprocessing(&mut self, preprocessing: Preprocessing) -> Result<()> {
        if preprocessing.size() != self.preprocessing.size() {
            // A transformer's positions, which are weights, depend on the size.
            let programs = programs(&self.models, 1, &preprocessing, &self.layer)?;
            self.batch = batch_of(&programs[0], &self.device);
            self.loaded = Loaded::new(&self.models, programs, &self.device)?;
        }
        self.preprocessing = preprocessing;
        Ok(())
    }

    /// How many images are computed at once, at most: as many as fit into 512 MiB on a GPU, 16 MiB on the host; at most 16.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The programs that it runs, one after the other: the trunk's, and maybe the head's.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.loaded.executors.iter().map(|executor| executor.program())
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
    /// Where the image has no pixels, the device fails or the result is not finite.
    pub fn encode(&mut self, image: &RgbImage) -> Result<Vec<f32>> {
        let mut rows = self.encode_all(std::slice::from_ref(image))?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// The representations of images, computed in batches of at most [`Encoder::batch`]; they do not depend on what they are
    /// batched with.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; nothing says which image it was.
    ///
    /// # Examples
    /// ```
    /// use image::RgbImage;
    /// use percept::pipeline::{Device, Encoder, Preprocessing, untrained};
    ///
    /// let preprocessing = Preprocessing::new("rcdm", 32)?;
    /// let mut encoder = Encoder::of(untrained("resnet18", 0)?, None, "stem", Some(preprocessing), &Device::cpu()?)?;
    /// let images = [RgbImage::new(40, 30), RgbImage::new(32, 32)];
    /// let rows = encoder.encode_all(&images)?;
    /// assert_eq!(rows, [encoder.encode(&images[0])?, encoder.encode(&images[1])?]);
    /// # Ok::<(), percept::Error>(())
    /// ```
    pub fn encode_all(&mut self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::with_capacity(images.len());
        if images.is_empty() {
            return Ok(rows);
        }
        self.load(even_batch(self.batch, images.len()))?;
        for images in images.chunks(self.loaded.batch) {
            let mut inputs = Vec::new();
            for image in images {
                inputs.extend(self.preprocessing.to_input(&self.preprocessing.crop(image)?));
            }
            // Batches of one size, so that no two programs are needed: the last one may encode an image again.
            let one = inputs.len() / images.len();
            for _ in images.len()..self.loaded.batch {
                inputs.extend_from_within(..one);
            }
            let values = self.loaded.run(inputs)?;
            rows.extend(values.chunks_exact(self.dim).take(images.len()).map(<[f32]>::to_vec));
        }
        Ok(rows)
    }

    /// Makes the programs of another batch size, with the weights that are there.
    fn load(&mut self, batch: usize) -> Result<()> {
        if batch != self.loaded.batch {
            let programs = programs(&self.models, batch, &self.preprocessing, &self.layer)?;
            // What is not needed any more is freed before more is asked for.
            self.loaded.executors.clear();
            self.loaded.batch = 0;
            self.loaded.executors = executors(programs, &self.loaded.weights, &self.device)?;
            self.loaded.batch = batch;
        }
        Ok(())
    }
}

impl Loaded {
    /// Loads programs of batches of one, and the weights, which are those of all batch sizes.
    fn new(models: &[MappedModel], programs: Vec<Arc<Program>>, device: &Device) -> Result<Self> {
        let weights = programs.iter().zip(models).map(|(program, model)| device.load_weights(program, model));
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let executors = executors(programs, &weights, device)?;
        Ok(Loaded { batch: 1, weights, executors })
    }

    /// From the images of a batch, `[n, h, w, c]`, to their representations, `[n, dim]`.
    fn run(&mut self, images: Vec<f32>) -> Result<Vec<f32>> {
        let mut values = images;
        for (executor, input) in self.executors.iter_mut().zip(["image", "trunk"]) {
            values = run(executor.as_mut(), input, &values)?;
        }
        Ok(values)
    }
}

/// The most images of a batch.
fn batch_of(trunk: &Program, device: &Device) -> usize {
    let bytes = if device.is_host() { HOST_BATCH_BYTES } else { BATCH_BYTES };
    sensible_batch(trunk, device, bytes)
}

fn executors(
    programs: Vec<Arc<Program>>,
    weights: &[DeviceWeights],
    device: &Device,
) -> Result<Vec<Box<dyn Executor>>> {
    programs.into_iter().zip(weights).map(|(program, weights)| device.executor(program, weights)).collect()
}

/// The programs of a trunk and maybe a head.
fn programs(
    models: &[MappedModel],
    batch: usize,
    preprocessing: &Preprocessing,
    layer: &str,
) -> Result<Vec<Arc<Program>>> {
    let size = preprocessing.size() as usize;
    let of_trunk = if models.len() > 1 { "trunk" } else { layer };
    let trunk = programs::trunk(&models[0], batch, size, of_trunk)?;
    let dim = programs::dim(&trunk)?;
    let heads = models[1..].iter().map(|model| programs::head(model, batch, dim, layer));
    [Ok(trunk)].into_iter().chain(heads).map(|program| program.map(Arc::new)).collect()
}

/// Refuses a layer of a head that is not there, and one of the trunk where there is a head.
fn check_part(layer: &str, has_head: bool) -> Result<()> {
    let is_of_head = layer == "head" || layer.starts_with("head.");
    match (has_head, is_of_head) {
        (false, true) => Err(Error::config("layer", "a layer of the encoder, for there is no head", layer)),
        (true, false) => Err(Error::config("layer", "one of the head, which is given", layer)),
        _ => Ok(()),
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
