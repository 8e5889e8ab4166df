//! A job between two steps, as bytes: a .safetensors file.
//!
//! Tensors: `representations` [r, d] f32, or an upsampler's `small_images` [r, s, s, 3] f32; `images` [n, h, w, 3] u8, those of
//! the batches that are whole; where a batch has begun, `x` [n, h, w, 3] f32, its x_t; and where the run does not begin with noise
//! that is drawn, `start` [n, h, w, 3] f32, x_T or the one image that is noised. Metadata: `percept.job`, JSON.

use image::RgbImage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::decoder::SampleOptions;
use super::sampling::Method;
use super::start::Start;
use crate::diffusion::Sampler;
use crate::models::UnetConfig;
use crate::{Error, Result};

/// The newest version of states.
const VERSION: u32 = 1;
/// The most rows of a run whose model takes no representation.
const MAX_EMPTY: usize = 1 << 20;
/// The key of the metadata.
const KEY: &str = "percept.job";

/// A job between two steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// What is sampled, with the size of a batch.
    pub options: SampleOptions,
    /// SHA-256 of the model file.
    pub model: String,
    /// Representations, or small images.
    pub conditions: Vec<Vec<f32>>,
    /// Of the batches that are whole, in order.
    pub images: Vec<RgbImage>,
    /// The next step of the batch that is not.
    pub step: usize,
    /// Its x_t, where step is not 0.
    pub x: Option<Vec<f32>>,
}

/// What the metadata holds.
#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    /// SHA-256 of the model file.
    model: String,
    samples: usize,
    batch: usize,
    sampler: String,
    /// In decimals that are read as the same number.
    eta: String,
    respacing: String,
    clip: bool,
    seed: u64,
    class: Option<u32>,
    #[serde(default)]
    first_sample: u32,
    /// Of an image that is noised.
    #[serde(default)]
    from_step: Option<usize>,
    step: usize,
}

impl State {
    /// Writes it, of a model of this configuration.
    ///
    /// # Errors
    /// Never: what is written was a job.
    pub fn to_bytes(&self, config: &UnetConfig) -> Result<Vec<u8>> {
        let size = config.image_size;
        let SampleOptions { samples, method, seed, batch, class, start, first_sample, .. } = &self.options;
        let (start, from_step) = match start {
            Start::Drawn => (None, None),
            Start::Given(x) => (Some(x), None),
            Start::Noised { image, step } => (Some(image), Some(*step)),
        };
        let (sampler, eta) = match method.sampler {
            Sampler::Ddpm => ("ddpm", 0.0),
            Sampler::Ddim { eta } => ("ddim", eta),
            Sampler::DdimReverse => ("ddim-reverse", 0.0),
        };
        let json = Json {
            version: VERSION,
            model: self.model.clone(),
            samples: *samples,
            batch: batch.unwrap_or_default(),
            sampler: sampler.into(),
            eta: format!("{eta:?}"),
            respacing: method.respacing.clone(),
            clip: method.clip,
            seed: *seed,
            class: *class,
            first_sample: *first_sample,
            from_step,
            step: self.step,
        };
        let text = serde_json::to_string(&json).map_err(|error| foreign("numbers", error))?;
        let metadata = [(KEY.to_string(), text)].into_iter().collect();
        let rows = self.conditions.concat();
        let (name, of_row) = condition(config);
        let shape = [self.conditions.len()].into_iter().chain(of_row).collect();
        let pixels: Vec<u8> = self.images.iter().flat_map(|image| image.as_raw()).copied().collect();
        let mut tensors = vec![
            (name, Dtype::F32, shape, bytemuck::cast_slice(&rows)),
            ("images", Dtype::U8, vec![self.images.len(), size, size, 3], &pixels[..]),
        ];
        let given = [("x", self.x.as_deref()), ("start", start.map(|start| &start[..]))];
        for (name, values) in given.into_iter().filter_map(|(name, values)| Some((name, values?))) {
            let shape = vec![values.len() / (size * size * 3), size, size, 3];
            tensors.push((name, Dtype::F32, shape, bytemuck::cast_slice(values)));
        }
        let views =
            tensors.into_iter().map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)));
        let views = views.collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
        views.and_then(|views| safetensors::serialize(views, Some(metadata))).map_err(|error| foreign("tensors", error))
    }

    /// Reads it, for a model of this configuration.
    ///
    /// # Errors
    /// [`Error::File`] where the bytes are no state, or not of such a model.
    pub fn from_bytes(bytes: &[u8], config: &UnetConfig) -> Result<Self> {
        let size = config.image_size;
        let expected = "a job's state, as Job::state wrote it";
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| foreign(expected, error))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or_else(|| foreign(expected, format!("a file without metadata {KEY:?}")))?;
        let json: Json = serde_json::from_str(text).map_err(|error| foreign(expected, error))?;
        if json.version != VERSION {
            return Err(foreign(format!("version {VERSION}"), format!("version {}", json.version)));
        }
        let eta = json.eta.parse().map_err(|_| foreign("a number as eta", &json.eta))?;
        let sampler = Sampler::new(&json.sampler, eta).map_err(|error| error.within(AT))?;

        let tensors = SafeTensors::deserialize(bytes).map_err(|error| foreign(expected, error))?;
        let tensor = |name: &str, dtype: Dtype| {
            let view = tensors.tensor(name).map_err(|error| foreign(format!("a tensor {name:?}"), error))?;
            match view.dtype() == dtype {
                true => Ok(view),
                false => Err(foreign(format!("{name} of {dtype:?}"), format!("{:?}", view.dtype()))),
            }
        };
        let image = [size, size, 3];
        let of_images = |view: &TensorView<'_>, name: &str| match view.shape() {
            [_, sides @ ..] if sides == image => Ok(()),
            shape => Err(foreign(format!("{name} of {size}x{size} pixels"), format!("shape {shape:?}"))),
        };
        let (name, of_row) = condition(config);
        let length = of_row.iter().product::<usize>();
        let rows = tensor(name, Dtype::F32)?;
        let count = match rows.shape() {
            // No file is too small for any number of empty ones.
            [count, shape @ ..] if *shape == of_row && (length > 0 || *count <= MAX_EMPTY) => *count,
            shape => return Err(foreign(format!("{name} of shape {of_row:?} each"), format!("shape {shape:?}"))),
        };
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(rows.data());
        let conditions = (0..count).map(|row| values[row * length..(row + 1) * length].to_vec()).collect();
        let pixels = tensor("images", Dtype::U8)?;
        of_images(&pixels, "images")?;
        let whole = pixels.data().chunks_exact(size * size * 3);
        let images = whole.filter_map(|raw| RgbImage::from_raw(size as u32, size as u32, raw.to_vec())).collect();
        let x = match json.step {
            0 => None,
            _ => {
                let x = tensor("x", Dtype::F32)?;
                of_images(&x, "x")?;
                if x.shape()[0] != json.batch {
                    return Err(foreign(format!("x of {} images", json.batch), format!("shape {:?}", x.shape())));
                }
                Some(bytemuck::pod_collect_to_vec(x.data()))
            }
        };
        let start = match tensors.names().contains(&"start") {
            true => {
                let start = tensor("start", Dtype::F32)?;
                of_images(&start, "start")?;
                Some(bytemuck::pod_collect_to_vec::<u8, f32>(start.data()).into())
            }
            false => None,
        };
        let start = match (start, json.from_step) {
            (Some(image), Some(step)) => Start::Noised { image, step },
            (Some(x), None) => Start::Given(x),
            (None, None) => Start::Drawn,
            (None, Some(step)) => return Err(foreign(format!("an image noised to step {step}"), "none")),
        };
        let method = Method { sampler, respacing: json.respacing, clip: json.clip };
        let options = SampleOptions {
            samples: json.samples,
            method,
            seed: json.seed,
            batch: Some(json.batch),
            class: json.class,
            start,
            first_sample: json.first_sample,
            ..SampleOptions::default()
        };
        Ok(State { options, model: json.model, conditions, images, step: json.step, x })
    }
}

/// What the tensor of conditions is called, and the shape of one of them.
fn condition(config: &UnetConfig) -> (&'static str, Vec<usize>) {
    match (config.small_size, config.ssl_dim) {
        (0, dim) => ("representations", vec![dim]),
        (size, _) => ("small_images", vec![size, size, 3]),
    }
}

/// What errors call a state.
const AT: &str = "state of a job";

/// The error of a state that cannot be gone on from.
pub(super) fn foreign(expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Error {
    Error::file(AT, expected.to_string(), got.to_string())
}
