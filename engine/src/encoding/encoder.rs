//! Encodes images into their representations.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::programs::program;
use super::weights::EncoderWeights;
use crate::device::batch::{BATCH_BYTES, HOST_BATCH_BYTES, even_batch, sensible_batch};
use crate::device::{Device, DeviceWeights, Executor};
use crate::images::Preprocessing;
use crate::program::Program;
use crate::tensor::check_finite;
use crate::weights::OpenModel;
use crate::{Error, Result};

/// An encoder on a device: preprocessing, a ResNet or vision transformer, and optionally its projector head, up to the
/// layer whose values are the representation.
pub struct Encoder {
    preprocessing: Preprocessing,
    layer: String,
    dim: usize,
    /// The maximum number of images in a batch.
    batch: usize,
    device: Device,
    weights: EncoderWeights,
    loaded: Loaded,
}

/// An encoder's program for one batch size and one image size.
struct Loaded {
    batch: usize,
    weights: DeviceWeights,
    /// `None` if loading another batch size failed.
    executor: Option<Box<dyn Executor>>,
}

impl Encoder {
    /// Opens an encoder's model file, and optionally its head's. The representation is the head's result if there is a
    /// head, and the trunk's otherwise. If `preprocessing` is `None`, the encoder uses the preprocessing that its model
    /// file names, or the preset `rcdm` at 224 pixels if the file names none.
    ///
    /// # Errors
    /// Returns an error if a file is missing or is not a model file of the right kind, its tensors do not match its
    /// configuration, the head does not accept the encoder's representations, or a vision transformer's patches do not
    /// fill the images that the preprocessing produces.
    pub fn open(
        encoder: impl AsRef<Path>,
        head: Option<&Path>,
        preprocessing: Option<Preprocessing>,
        device: &Device,
    ) -> Result<Self> {
        Encoder::open_layer(encoder, head, if head.is_some() { "head" } else { "trunk" }, preprocessing, device)
    }

    /// Opens an encoder like [`Encoder::open`], but uses the values of any layer as the representation (Guillotine
    /// Regularization, Bordes et al. 2022, <https://arxiv.org/abs/2206.13378>). Anything after that layer is neither
    /// loaded nor computed.
    ///
    /// The layers of a ResNet are `stem`, `layer1`, ... (spatial means) and `trunk`. The layers of a vision
    /// transformer are `block0`, ... (class tokens), `tokens_mean`, `patch_mean` and `trunk`. The layers of a head are
    /// `head.0`, ... (after each linear layer's norm and activation) and `head`, the last one.
    ///
    /// # Errors
    /// Same as [`Encoder::open`]. Also returns [`Error::Config`], which lists the available layers, if `layer` does not
    /// exist.
    pub fn open_layer(
        encoder: impl AsRef<Path>,
        head: Option<&Path>,
        layer: &str,
        preprocessing: Option<Preprocessing>,
        device: &Device,
    ) -> Result<Self> {
        // Checked before any file is opened.
        check_part(layer, head.is_some())?;
        let head = head.map(OpenModel::open).transpose()?;
        Encoder::of(OpenModel::open(encoder)?, head, layer, preprocessing, device)
    }

    /// Creates an encoder like [`Encoder::open_layer`], but from models that are already open or
    /// [untrained](crate::models::untrained).
    ///
    /// # Errors
    /// Same as [`Encoder::open_layer`].
    pub fn of(
        model: OpenModel,
        head: Option<OpenModel>,
        layer: &str,
        preprocessing: Option<Preprocessing>,
        device: &Device,
    ) -> Result<Self> {
        let preprocessing = match preprocessing {
            Some(given) => given,
            None => Preprocessing::named_by(&model)?.unwrap_or_default(),
        };
        check_part(layer, head.is_some())?;
        let weights = EncoderWeights { trunk: model, head };
        let one = program(&weights, 1, preprocessing.size() as usize, layer)?;
        let dim = one.value(one.output("h")?).shape.elements();
        let batch = batch_of(&one, device);
        let loaded = Loaded::new(&weights, one, device)?;
        Ok(Encoder { preprocessing, layer: layer.into(), dim, batch, device: device.clone(), weights, loaded })
    }

    /// Sets the preprocessing for all later images. Reloads the models if the image size changes.
    ///
    /// # Errors
    /// Same as [`Encoder::open`].
    pub fn set_preprocessing(&mut self, preprocessing: Preprocessing) -> Result<()> {
        if preprocessing.size() != self.preprocessing.size() {
            // The position embeddings of a vision transformer are weights and depend on the size.
            let one = program(&self.weights, 1, preprocessing.size() as usize, &self.layer)?;
            self.batch = batch_of(&one, &self.device);
            self.loaded = Loaded::new(&self.weights, one, &self.device)?;
        }
        self.preprocessing = preprocessing;
        Ok(())
    }

    /// Returns the maximum number of images that are encoded at once: as many as fit into 512 MiB on a GPU or 16 MiB on
    /// the host, but at most 16.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the program of the trunk, and of the head if there is one, for the most recent batch size. Returns
    /// `None` if loading it for another batch size failed.
    pub fn program(&self) -> Option<&Program> {
        self.loaded.executor.as_ref().map(|executor| executor.program())
    }

    /// Returns the layer whose values are the representation.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Returns the number of elements of the representation.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the preprocessing that is applied to an image before it is encoded.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Returns the model file of the trunk: the ResNet or vision transformer.
    pub fn trunk(&self) -> &OpenModel {
        &self.weights.trunk
    }

    /// Returns the model files of the encoder: the trunk's, and the head's if there is one.
    pub fn models(&self) -> impl Iterator<Item = &OpenModel> {
        [Some(&self.weights.trunk), self.weights.head.as_ref()].into_iter().flatten()
    }

    /// Encodes an image into its representation, which has [`Encoder::dim`] elements.
    ///
    /// # Errors
    /// Returns an error if the image has no pixels, the device fails, or the result is not finite.
    pub fn encode(&mut self, image: &RgbImage) -> Result<Vec<f32>> {
        let mut rows = self.encode_all(std::slice::from_ref(image))?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Encodes images into their representations, in batches of at most [`Encoder::batch`] images. A representation
    /// does not depend on the other images in its batch.
    ///
    /// # Errors
    /// Same as [`Encoder::encode`]. The error does not say which image caused it.
    ///
    /// # Examples
    /// ```
    /// use image::RgbImage;
    /// use percept::{Device, Encoder, Preprocessing};
    /// use percept::models::untrained;
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
            // All batches have the same size, so that one program suffices. The last batch is filled with copies of
            // its first image.
            let one = inputs.len() / images.len();
            for _ in images.len()..self.loaded.batch {
                inputs.extend_from_within(..one);
            }
            let values = self.loaded.run(&inputs)?;
            rows.extend(values.chunks_exact(self.dim).take(images.len()).map(<[f32]>::to_vec));
        }
        Ok(rows)
    }

    /// Loads the program for a batch size, with the weights that are already loaded.
    fn load(&mut self, batch: usize) -> Result<()> {
        if batch != self.loaded.batch || self.loaded.executor.is_none() {
            let program = program(&self.weights, batch, self.preprocessing.size() as usize, &self.layer)?;
            // Frees the old program before allocating the new one.
            self.loaded.executor = None;
            self.loaded.executor = Some(self.device.executor(Arc::new(program), &self.loaded.weights)?);
            self.loaded.batch = batch;
        }
        Ok(())
    }
}

impl Loaded {
    /// Loads the program for a batch of one, and the weights, which all batch sizes share.
    fn new(weights: &EncoderWeights, program: Program, device: &Device) -> Result<Self> {
        let program = Arc::new(program);
        let weights = device.load_weights(&program, weights)?;
        let executor = device.executor(program, &weights)?;
        Ok(Loaded { batch: 1, weights, executor: Some(executor) })
    }

    /// Maps the images of a batch, `[n, h, w, c]`, to their representations, `[n, dim]`.
    fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let executor = self.executor.as_mut().expect("a program is loaded before it is run");
        executor.write("image", images)?;
        let ops = executor.program().body();
        executor.run(ops.clone())?;
        let result = executor.read("h")?;
        check_finite("h", &result).or_else(|error| match executor.find_non_finite(ops)? {
            Some(layer) => Err(Error::not_finite(layer, "finite values", "NaN or an infinity")),
            None => Err(error),
        })?;
        Ok(result)
    }
}

/// Returns the maximum number of images in a batch, given the program for a batch of one.
fn batch_of(one: &Program, device: &Device) -> usize {
    let bytes = if device.is_host() { HOST_BATCH_BYTES } else { BATCH_BYTES };
    sensible_batch(one, device, bytes)
}

/// Returns an error for a head's layer without a head, and for a trunk's layer with a head.
fn check_part(layer: &str, has_head: bool) -> Result<()> {
    let is_of_head = layer == "head" || layer.starts_with("head.");
    match (has_head, is_of_head) {
        (false, true) => Err(Error::config("layer", "a layer of the encoder, for there is no head", layer)),
        (true, false) => Err(Error::config("layer", "one of the head, which is given", layer)),
        _ => Ok(()),
    }
}
