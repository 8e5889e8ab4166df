//! The inputs of networks, either read from a golden or made up.

use super::golden::Golden;
use crate::diffusion::{MAX_PERIOD, timestep_embeddings};
use crate::models::Model;
use crate::tensor::Shape;
use crate::{Error, Result};

/// An input for one or more samples. A larger batch repeats them.
pub(super) struct Input {
    pub(super) name: &'static str,
    /// `[samples, ...]`
    pub(super) shape: Shape,
    pub(super) data: Data,
}

pub(super) enum Data {
    Floats(Vec<f32>),
    Words(Vec<u32>),
    /// Floats that are made up when they are written, so that opening an untrusted model file does not allocate
    /// anything for its configuration.
    MadeUp,
}

/// Makes up numbers in [-1, 1), so that no product of them is denormal or infinite.
pub(super) fn made_up(elements: usize) -> Vec<f32> {
    (0..elements).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

impl Input {
    pub(super) fn image(name: &'static str, golden: &Golden, tensor: &str) -> Result<Self> {
        let image = golden.image(tensor)?;
        Ok(Input { name, shape: image.shape(), data: Data::Floats(image.into_data()) })
    }

    pub(super) fn rows(name: &'static str, golden: &Golden, tensor: &str) -> Result<Self> {
        let rows = golden.tensor(tensor)?;
        if rows.shape().len() != 2 {
            return Err(Error::shape(tensor, "[samples, features]", rows.shape()));
        }
        Ok(Input { name, shape: rows.shape(), data: Data::Floats(rows.into_data()) })
    }

    /// Creates the input of a diffusion model's timestep embeddings.
    pub(super) fn time(model: &Model, timesteps: &[f32]) -> Self {
        let channels = model.unet_config().map_or(0, |config| config.num_channels);
        let embeddings = timestep_embeddings(timesteps, channels, MAX_PERIOD);
        let shape = Shape::from([timesteps.len(), channels]);
        Input { name: "time", shape, data: Data::Floats(embeddings) }
    }

    pub(super) fn labels(labels: Vec<u32>) -> Self {
        Input { name: "labels", shape: Shape::from([labels.len()]), data: Data::Words(labels) }
    }

    /// Returns the shape for another batch size.
    pub(super) fn shape_of(&self, batch: usize) -> Result<Shape> {
        let dims: Vec<usize> = [batch].iter().chain(&self.shape[1..]).copied().collect();
        Shape::new(&dims).map_err(|error| error.within(self.name))
    }
}
