//! Serializes a job between two steps as a .safetensors file.
//!
//! Tensors:
//!
//! - `representations` `[r, d]` f32, or an upsampler's `small_images` `[r, s, s, 3]` f32.
//! - `images` `[n, h, w, 3]` u8: the images of the complete batches.
//! - `x` `[n, h, w, 3]` f32: x_t of the current batch, if it has begun.
//! - `start` `[n, h, w, 3]` f32: the given x_T, or the single image that is noised, unless the run starts from drawn
//!   noise.
//!
//! Metadata: `percept.job`, JSON.

use image::RgbImage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::options::SampleOptions;
use super::start::Start;
use crate::diffusion::Method;
use crate::diffusion::Sampler;
use crate::models::UnetConfig;
use crate::{Error, Result};

/// The supported version of states.
const VERSION: u32 = 1;
/// The maximum number of rows of a run whose model takes no representation.
const MAX_EMPTY: usize = 1 << 20;
/// The key of the metadata.
const KEY: &str = "percept.job";

/// A job between two steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// The options of the run, including the batch size.
    pub options: SampleOptions,
    /// The SHA-256 of the model file.
    pub model: String,
    /// The representations, or the small images.
    pub conditions: Vec<Vec<f32>>,
    /// The images of the complete batches, in order.
    pub images: Vec<RgbImage>,
    /// The next step of the current batch.
    pub step: usize,
    /// x_t of the current batch, or `None` if `step` is 0.
    pub x: Option<Vec<f32>>,
}

/// The JSON in the metadata.
#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    /// The SHA-256 of the model file.
    model: String,
    samples: usize,
    batch: usize,
    sampler: String,
    /// A decimal number that parses back to the same value.
    eta: String,
    respacing: String,
    clip: bool,
    seed: u64,
    class: Option<u32>,
    #[serde(default)]
    first_sample: u32,
    /// The step that the image is noised to, if the run starts from a noised image.
    #[serde(default)]
    from_step: Option<usize>,
    step: usize,
}

impl State {
    /// Serializes the state of a job whose model has the given configuration.
    ///
    /// # Errors
    /// Never fails for the state of a job.
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
            respacing: method.respacing(config.diffusion_steps),
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

    /// Parses a state, for a model of the given configuration.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the bytes are not a state, or do not fit such a model.
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
            // Empty rows take no bytes, so the size of the file does not limit their number.
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
        let method = Method { sampler, steps: json.respacing.into(), clip: json.clip };
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

/// Returns the name of the tensor of conditions, and the shape of one condition.
fn condition(config: &UnetConfig) -> (&'static str, Vec<usize>) {
    match (config.small_size, config.ssl_dim) {
        (0, dim) => ("representations", vec![dim]),
        (size, _) => ("small_images", vec![size, size, 3]),
    }
}

/// The name of a state in errors.
const AT: &str = "state of a job";

/// Returns the error for a state that cannot be resumed.
pub(super) fn foreign(expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Error {
    Error::file(AT, expected.to_string(), got.to_string())
}
