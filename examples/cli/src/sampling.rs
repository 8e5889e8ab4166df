//! The flags that all commands that sample share.

use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use percept::diffusion::{Sampler, space_timesteps};
use percept::error::Mismatch;
use percept::models::UnetConfig;
use percept::weights::OpenModel;
use percept::weights::WeightSource;
use percept::{Bundle, Job, Method, Progress, SampleOptions, Steps};
use percept::{Error, Result};

use crate::record::file_name;
use crate::terminal::progress;

/// A bundle and the plan to sample it. Its samples are a group of columns of the grid.
pub struct Group {
    pub name: String,
    pub bundle: Bundle,
    pub plan: Plan,
    /// The representation of each picture.
    pub representations: Vec<Vec<f32>>,
}

#[derive(Args)]
pub struct SamplingArguments {
    /// Number of steps, or a timestep_respacing of guided-diffusion
    ///
    /// A timestep_respacing is, for example, ddim50 or 10,10,20; "" selects all steps of the model. With the ddim
    /// sampler, a number N is read as ddimN, which is every k-th step, if some integer k gives N steps. Otherwise, and
    /// with ddpm, N steps are spread evenly over all steps, including the first and the last. guided-diffusion samples
    /// with either respacing; the output file records which one was used.
    #[arg(long, value_name = "S", default_value = "25")]
    pub steps: String,
    /// Sampler
    #[arg(long, value_enum, default_value_t = SamplerName::Ddpm)]
    sampler: SamplerName,
    /// Amount of noise that a step of ddim adds, from 0 to 1
    #[arg(long, value_name = "E", default_value_t = 0.0, allow_negative_numbers = true)]
    pub eta: f64,
    /// Class of the samples, for a class-conditional model
    #[arg(long, value_name = "C")]
    pub class: Option<u32>,
    /// Seed of the noise; the same seed gives the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Number of images computed at once; affects time and memory, not the result [default: as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Number of CPU threads; affects the time, not the result [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SamplerName {
    Ddpm,
    Ddim,
}

/// The method that samples a model, and its number of steps.
pub struct Plan {
    pub method: Method,
    /// The method's steps, as guided-diffusion's `timestep_respacing`.
    pub respacing: String,
    /// The number of steps that the method takes.
    pub steps: usize,
}

impl SamplingArguments {
    /// Returns the sampler's name.
    pub fn sampler(&self) -> &'static str {
        match self.sampler {
            SamplerName::Ddpm => "ddpm",
            SamplerName::Ddim => "ddim",
        }
    }

    /// Returns an error if the options are invalid for every model.
    pub fn check(&self) -> Result<()> {
        Sampler::new(self.sampler(), self.eta).map(|_| ())
    }

    /// Returns the plan to sample a model in `steps`, which is the value of `flag`. Errors name the flag.
    pub fn plan(&self, flag: &str, steps: &str, config: &UnetConfig) -> Result<Plan> {
        let sampler = Sampler::new(self.sampler(), self.eta)?;
        let steps = steps.parse().map_or_else(|_| steps.into(), Steps::Count);
        let method = Method { sampler, steps, clip: true };
        let respacing = method.respacing(config.diffusion_steps);
        let timesteps = space_timesteps(config.diffusion_steps, &respacing).map_err(|error| match error {
            Error::Config(mismatch) => Error::Config(Mismatch { at: flag.into(), ..mismatch }),
            other => other,
        })?;
        Ok(Plan { method, respacing, steps: timesteps.len() })
    }

    /// Returns an error if a model needs a class and none is given, if a model does not have the given class, or if a
    /// class is given and no model takes one.
    pub fn check_class(&self, models: &[(&OpenModel, &UnetConfig)]) -> Result<()> {
        let refused = |expected: String, got: String| Err(Error::config("--class", expected, got));
        for (model, config) in models {
            let file = file_name(model.name().as_ref());
            match (self.class, config.classes()) {
                (None, classes @ 1..) => {
                    let expected = format!("0 to {}, since {file} is class-conditional", classes - 1);
                    return refused(expected, "none".into());
                }
                (Some(class), classes @ 1..) if class as usize >= classes => {
                    return refused(format!("0 to {}, the classes of {file}", classes - 1), class.to_string());
                }
                _ => (),
            }
        }
        match self.class {
            Some(class) if models.iter().all(|(_, config)| config.classes() == 0) => {
                let not = |(model, _): &(&OpenModel, &UnetConfig)| {
                    format!("{} is not class-conditional", file_name(model.name().as_ref()))
                };
                let reasons: Vec<String> = models.iter().map(not).collect();
                refused(format!("none, since {}", reasons.join(" and ")), class.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Returns the options for a model.
    pub fn options(&self, samples: u32, plan: &Plan, config: &UnetConfig) -> SampleOptions {
        SampleOptions {
            samples: samples as usize,
            method: plan.method.clone(),
            seed: self.seed,
            batch: self.batch.map(|batch| batch as usize),
            class: self.class.filter(|_| config.classes() > 0),
            ..SampleOptions::default()
        }
    }
}

/// The parts of a step in a progress bar, so that the bar moves with every batch.
const SUBSTEPS: u64 = 1000;

/// A progress bar over several runs. A run's share of the bar is its number of steps, however they are batched.
pub struct Runs {
    bar: ProgressBar,
    before: u64,
}

impl Runs {
    /// Creates a bar for `steps` steps in total.
    pub fn new(steps: usize) -> Self {
        Runs { bar: progress(steps as u64 * SUBSTEPS, "sampling"), before: 0 }
    }

    /// Begins the next run, of `steps` steps. The returned function must be called after each step.
    pub fn begin(&mut self, name: &str, steps: usize) -> impl FnMut(&mut Job) -> ControlFlow<()> + use<> {
        self.bar.set_message(name.to_owned());
        let (bar, before, share) = (self.bar.clone(), self.before, steps as u64 * SUBSTEPS);
        self.before += share;
        move |job| {
            let Progress { done, total, .. } = job.progress();
            bar.set_position(before + share * done as u64 / total as u64);
            ControlFlow::Continue(())
        }
    }
}
