//! The options of a sampling run.

use super::start::Start;
use crate::diffusion::Method;

/// Options of a sampling run: the number of samples, the method, the seed and more.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOptions {
    /// The number of images per representation, or per small image.
    pub samples: usize,
    /// The sampler and the timesteps that it visits.
    pub method: Method,
    /// The seed of the noise. The same seed gives the same images for any batch size.
    pub seed: u64,
    /// The number of images that are computed at once. `None` computes as many as fit into 512 MiB, but at most 16.
    pub batch: Option<usize>,
    /// The class, for a class-conditional model.
    pub class: Option<u32>,
    /// The values that the samples start from.
    pub start: Start,
    /// The number of the first sample if this run is a part of a larger one. A sample's noise depends on its number.
    pub first_sample: u32,
    /// The maximum device memory of the run in bytes, as counted by [`Rcdm::estimate`](super::Rcdm::estimate). The
    /// batch size is reduced until the run fits.
    pub memory: Option<usize>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions {
            samples: 4,
            method: Method::ddpm(25),
            seed: 0,
            batch: None,
            class: None,
            start: Start::Drawn,
            first_sample: 0,
            memory: None,
        }
    }
}
