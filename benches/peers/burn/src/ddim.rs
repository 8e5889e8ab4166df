//! Implicit sampling without noise (Song et al. 2020), to check a network on goldens of whole runs.

use serde::Deserialize;

use crate::Result;
use crate::weights::File;

/// A run from noise to images.
pub struct Run {
    /// Timesteps and the share of the image that is left at them, `alphas_cumprod`; the noisiest last.
    steps: Vec<(f32, f64)>,
}

/// guided-diffusion's flags of a run.
#[derive(Deserialize)]
struct Flags {
    sampler: String,
    eta: f64,
    timestep_respacing: String,
    noise_schedule: String,
    diffusion_steps: usize,
    clip_denoised: bool,
    predict_xstart: bool,
    rescale_timesteps: bool,
    learn_sigma: bool,
}

impl Run {
    /// The run of a golden.
    pub fn of(golden: &File) -> Result<Self> {
        let flags: Flags = serde_json::from_str(golden.config()?)?;
        let supported = [
            ("sampler", flags.sampler == "ddim", "\"ddim\""),
            ("eta", flags.eta == 0.0, "0"),
            ("noise_schedule", flags.noise_schedule == "cosine", "\"cosine\""),
            ("clip_denoised", flags.clip_denoised, "true"),
            ("predict_xstart", !flags.predict_xstart, "false"),
            ("rescale_timesteps", !flags.rescale_timesteps, "false"),
            ("learn_sigma", flags.learn_sigma, "true"),
        ];
        if let Some((flag, _, only)) = supported.into_iter().find(|(_, supported, _)| !supported) {
            return Err(format!("{flag}: this peer checks {only} only").into());
        }
        // "ddimN": the stride that takes exactly N.
        let total = flags.diffusion_steps;
        let count = flags.timestep_respacing.strip_prefix("ddim").and_then(|count| count.parse::<usize>().ok());
        let stride = (1..total).find(|&stride| Some(total.div_ceil(stride)) == count);
        let stride = stride.ok_or_else(|| {
            format!("timestep_respacing: expected \"ddimN\" with an integer stride, got {:?}", flags.timestep_respacing)
        })?;

        let alpha_bar =
            |t: usize| ((t as f64 / total as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let mut left = 1.0;
        let all = (0..total).map(|t| {
            left *= 1.0 - (1.0 - alpha_bar(t + 1) / alpha_bar(t)).min(0.999);
            (t as f32, left)
        });
        Ok(Run { steps: all.step_by(stride).collect() })
    }

    /// The timestep at which it begins.
    pub fn first_timestep(&self) -> f32 {
        self.steps.last().map_or(0.0, |step| step.0)
    }

    /// The images of noise `x`. `network` maps images and a timestep to epsilon and variance, side by side
    /// in channels.
    pub fn sample(
        &self,
        mut x: Vec<f32>,
        batch: usize,
        network: impl Fn(Vec<f32>, f32) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let length = x.len() / batch;
        for (index, &(timestep, left)) in self.steps.iter().enumerate().rev() {
            let next = if index == 0 { 1.0 } else { self.steps[index - 1].1 };
            let (recip, recipm1) = ((1.0 / left).sqrt() as f32, (1.0 / left - 1.0).sqrt() as f32);
            let (of_image, of_epsilon) = (next.sqrt() as f32, (1.0 - next).sqrt() as f32);
            let predicted = network(x.clone(), timestep)?;
            for (x, predicted) in x.chunks_exact_mut(length).zip(predicted.chunks_exact(2 * length)) {
                for (x, epsilon) in x.iter_mut().zip(predicted) {
                    let image = (recip * *x - recipm1 * epsilon).clamp(-1.0, 1.0);
                    let epsilon = (recip * *x - image) / recipm1;
                    *x = of_image * image + of_epsilon * epsilon;
                }
            }
        }
        Ok(x)
    }
}
