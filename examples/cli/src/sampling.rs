//! What every command that samples is told about how to.

use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use percept::diffusion::{Sampler, space_timesteps};
use percept::error::Mismatch;
use percept::models::UnetConfig;
use percept::pipeline::{Job, MappedModel, Method, Progress, SampleOptions};
use percept::weights::WeightSource;
use percept::{Error, Result};

use crate::record::file_name;
use crate::terminal::progress;

#[derive(Args)]
pub struct SamplingArguments {
    /// Steps: a number, or a timestep_respacing of guided-diffusion
    ///
    /// Steps: a number, or any timestep_respacing of guided-diffusion, such as ddim50 or 10,10,20; "" is all
    /// steps of the model. With the ddim sampler a number N is read as ddimN, which is every k-th step,
    /// where some whole k gives N of them; otherwise, and with ddpm, N steps are spread evenly over all,
    /// the first and the last included. guided-diffusion samples with either; the file says which it was.
    #[arg(long, value_name = "S", default_value = "25")]
    pub steps: String,
    /// The sampler
    #[arg(long, value_enum, default_value_t = SamplerName::Ddpm)]
    sampler: SamplerName,
    /// How much noise a step of ddim adds, from 0 to 1
    #[arg(long, value_name = "E", default_value_t = 0.0, allow_negative_numbers = true)]
    pub eta: f64,
    /// The class, for a model that wants one
    #[arg(long, value_name = "C")]
    pub class: Option<u32>,
    /// What noise is drawn from: the same seed gives the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Images computed at once; changes time and memory, not the result [default: as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Threads of the CPU; changes the time, not the result [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SamplerName {
    Ddpm,
    Ddim,
}

/// How a model is sampled.
pub struct Plan {
    pub method: Method,
    /// How many steps the method takes.
    pub steps: usize,
}

impl SamplingArguments {
    /// The sampler's name.
    pub fn sampler(&self) -> &'static str {
        match self.sampler {
            SamplerName::Ddpm => "ddpm",
            SamplerName::Ddim => "ddim",
        }
    }

    /// Refuses what no model could be sampled by.
    pub fn check(&self) -> Result<()> {
        Sampler::new(self.sampler(), self.eta).map(|_| ())
    }

    /// How a model is sampled in so many steps, which a flag gave.
    pub fn plan(&self, flag: &str, steps: &str, config: &UnetConfig) -> Result<Plan> {
        let sampler = Sampler::new(self.sampler(), self.eta)?;
        if let (SamplerName::Ddim, Ok(count)) = (self.sampler, steps.parse::<usize>()) {
            let respacing = format!("ddim{count}");
            if space_timesteps(config.diffusion_steps, &respacing).is_ok() {
                return Ok(Plan { method: Method { sampler, respacing, clip: true }, steps: count });
            }
        }
        let timesteps = space_timesteps(config.diffusion_steps, steps).map_err(|error| match error {
            Error::Config(mismatch) => Error::Config(Mismatch { at: flag.into(), ..mismatch }),
            other => other,
        })?;
        Ok(Plan { method: Method { sampler, respacing: steps.into(), clip: true }, steps: timesteps.len() })
    }

    /// Refuses a class that a model lacks, that it does not have, or that none of them wants.
    pub fn check_class(&self, models: &[(&MappedModel, &UnetConfig)]) -> Result<()> {
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
                let not = |(model, _): &(&MappedModel, &UnetConfig)| {
                    format!("{} is not class-conditional", file_name(model.name().as_ref()))
                };
                let reasons: Vec<String> = models.iter().map(not).collect();
                refused(format!("none, since {}", reasons.join(" and ")), class.to_string())
            }
            _ => Ok(()),
        }
    }

    /// The options for a model.
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

/// Parts of a step in a progress bar, so that it moves for every batch.
const SUBSTEPS: u64 = 1000;

/// A bar over several runs. A run's share of it is its steps, however they are batched.
pub struct Runs {
    bar: ProgressBar,
    before: u64,
}

impl Runs {
    /// Of so many steps in all.
    pub fn new(steps: usize) -> Self {
        Runs { bar: progress(steps as u64 * SUBSTEPS, "sampling"), before: 0 }
    }

    /// Begins the next run, of so many steps; what it gives is to be called after each.
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
