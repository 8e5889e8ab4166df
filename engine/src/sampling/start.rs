//! The values that a run starts from: noise that is drawn or given, or a noised image.

use std::sync::Arc;

use crate::diffusion::Method;
use crate::diffusion::noise::fill;
use crate::diffusion::{NoiseSchedule, Sampler, Schedule, Stream};
use crate::models::UnetConfig;
use crate::tensor::check_finite;
use crate::{Error, Result};

/// The values that the samples of a run start from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// Noise drawn with the seed, as x_T.
    #[default]
    Drawn,
    /// The given x_T of each sample, `[n, h, w, 3]`. With DDIM reverse, which ends with noise, the given images.
    Given(Arc<[f32]>),
    /// An image noised to the given step, the first step that is run (SDEdit, Meng et al. 2021,
    /// <https://arxiv.org/abs/2108.01073>): `x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e`, where e is the
    /// noise that [`Start::Drawn`] would start from.
    Noised {
        /// x_0, `[h, w, 3]`, in [-1, 1].
        image: Arc<[f32]>,
        /// t as an index into the steps of the run's [`Method`], where 0 is the least noisy step.
        step: usize,
    },
}

/// A start that has been checked against a method.
#[derive(Clone, Debug)]
pub(super) struct Starting {
    start: Start,
    /// The number of elements of an image.
    elements: usize,
    /// The number of the method's steps that are skipped.
    pub passed: usize,
    /// alpha_bar at the first step that is run.
    alpha_bar: f64,
}

impl Starting {
    /// Checks a start for `total` samples against a method and a model's configuration.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if the number of elements is wrong, [`Error::NotFinite`] if an element is not finite,
    /// and [`Error::Config`] if the step does not exist, or DDIM reverse is to start from noise or a noised image.
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
            Start::Drawn if method.sampler == Sampler::DdimReverse => {
                return Err(Error::config("start", "images, with DDIM reverse", "noise"));
            }
            Start::Drawn => {}
            Start::Given(x) => expect("start", total, x)?,
            Start::Noised { .. } if method.sampler == Sampler::DdimReverse => {
                return Err(Error::config("start", "images, with DDIM reverse", "a noised image"));
            }
            Start::Noised { image, step } => {
                expect("image to be noised", 1, image)?;
                let kind = config.noise_schedule.parse::<NoiseSchedule>()?;
                let respacing = method.respacing(config.diffusion_steps);
                let alphas = Schedule::new(kind, config.diffusion_steps, &respacing)?.alphas_cumprod;
                let Some(alpha_bar) = alphas.get(*step) else {
                    let expected = format!("0 to {}, the noisiest step", alphas.len() - 1);
                    return Err(Error::config("start.step", expected, step));
                };
                (starting.passed, starting.alpha_bar) = (alphas.len() - 1 - step, *alpha_bar);
            }
        }
        Ok(starting)
    }

    /// Returns x of the first step that is run, `[n, h, w, 3]`, or `None` if the program draws it. Each sample has a
    /// place in the given values and a number in the run.
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
