//! What a run is sampled from: noise that is drawn or given, or a noised image.

use std::sync::Arc;

use super::sampling::{Method, check_finite};
use crate::diffusion::noise::fill;
use crate::diffusion::{NoiseSchedule, Sampler, Schedule, Stream};
use crate::models::UnetConfig;
use crate::{Error, Result};

/// What the samples of a run begin as.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// x_T is noise, drawn by the seed.
    #[default]
    Drawn,
    /// x_T of each sample, `[n, h, w, 3]`; with DDIM reverse, which ends with noise, the images.
    Given(Arc<[f32]>),
    /// An image noised to a step, which is the first that is taken (SDEdit, Meng et al. 2021, <https://arxiv.org/abs/2108.01073>):
    /// `x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e`, where e is what [`Start::Drawn`] would begin as.
    Noised {
        /// x_0, `[h, w, 3]`, in [-1, 1].
        image: Arc<[f32]>,
        /// t, counted among the steps of the run's [`Method`]: 0 is the least noisy.
        step: usize,
    },
}

/// A start and a method, known to go together.
#[derive(Clone, Debug)]
pub(super) struct Starting {
    start: Start,
    /// Elements of an image.
    elements: usize,
    /// How many of the method's steps are passed over.
    pub passed: usize,
    /// alpha_bar at the first step that is taken.
    alpha_bar: f64,
}

impl Starting {
    /// Puts a start, of `total` samples, together with a method and a model's configuration.
    ///
    /// # Errors
    /// [`Error::Shape`] where elements are missing or too many, [`Error::NotFinite`], and [`Error::Config`] where there is no such
    /// step, or DDIM reverse has nothing to begin with or noise.
    pub fn new(start: &Start, config: &UnetConfig, method: &Method, total: usize) -> Result<Self> {
        let elements = config.image_size * config.image_size * 3;
        let mut starting = Starting { start: start.clone(), elements, passed: 0, alpha_bar: 0.0 };
        let expect = |at: &str, images: usize, values: &[f32]| {
            if values.len() != images * elements {
                let size = config.image_size;
                return Err(Error::shape(
                    at,
                    format!("[{images}, {size}, {size}, 3]"),
                    format!("{} values", values.len()),
                ));
            }
            check_finite(at, values)
        };
        match start {
            Start::Drawn => {}
            Start::Given(x) => expect("start", total, x)?,
            Start::Noised { .. } if method.sampler == Sampler::DdimReverse => {
                return Err(Error::config("start", "images, with DDIM reverse", "a noised image"));
            }
            Start::Noised { image, step } => {
                expect("image to be noised", 1, image)?;
                let kind = config.noise_schedule.parse::<NoiseSchedule>()?;
                let alphas = Schedule::new(kind, config.diffusion_steps, &method.respacing)?.alphas_cumprod;
                let Some(alpha_bar) = alphas.get(*step) else {
                    let expected = format!("0 to {}, the noisiest step", alphas.len() - 1);
                    return Err(Error::config("start.step", expected, step));
                };
                (starting.passed, starting.alpha_bar) = (alphas.len() - 1 - step, *alpha_bar);
            }
        }
        Ok(starting)
    }

    /// x of the first step that is taken, `[n, h, w, 3]`, where it is not what the program draws: of the samples with these
    /// places in what is given and numbers in the run.
    pub fn x(&self, seed: u64, samples: impl Iterator<Item = (usize, u32)>) -> Option<Vec<f32>> {
        let elements = self.elements;
        match &self.start {
            Start::Drawn => None,
            Start::Given(x) => {
                Some(samples.flat_map(|(place, _)| &x[place * elements..(place + 1) * elements]).copied().collect())
            }
            Start::Noised { image, .. } => {
                let (of_image, of_noise) = (self.alpha_bar.sqrt(), (1.0 - self.alpha_bar).sqrt());
                let mut noise = vec![0.0; elements];
                let mut x = Vec::new();
                for (_, number) in samples {
                    fill(seed, number, 0, Stream::Start, &mut noise);
                    let mixed = |(&image, &noise)| (of_image * f64::from(image) + of_noise * f64::from(noise)) as f32;
                    x.extend(image.iter().zip(&noise).map(mixed));
                }
                Some(x)
            }
        }
    }
}
