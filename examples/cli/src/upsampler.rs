//! The upsampler that a command line asks for.

use std::ops::ControlFlow;
use std::path::Path;

use image::RgbImage;
use percept::Result;
use percept::models::UnetConfig;
use percept::pipeline::{Device, Job, MappedModel, SampleOptions, Upsampler};

use crate::record;
use crate::sampling::{Plan, SamplingArguments};

/// An upsampler, and how it is sampled.
pub struct Upscaling {
    pub upsampler: Upsampler,
    pub plan: Plan,
}

impl Upscaling {
    /// Opens it, to take so many steps, which a flag gave.
    pub fn open(path: &Path, flag: &str, steps: &str, sampling: &SamplingArguments, device: &Device) -> Result<Self> {
        let upsampler = Upsampler::open(path, device)?;
        let plan = sampling.plan(flag, steps, upsampler.config())?;
        Ok(Upscaling { upsampler, plan })
    }

    /// Its file and configuration.
    pub fn model(&self) -> (&MappedModel, &UnetConfig) {
        (self.upsampler.model(), self.upsampler.config())
    }

    /// Pixels a side of a small image and of a large one.
    pub fn sizes(&self) -> [usize; 2] {
        [self.upsampler.config().small_size, self.upsampler.config().image_size]
    }

    /// The large image of each small one, of which the first has this number in the run.
    pub fn upscale(
        &self,
        small: &[RgbImage],
        first_sample: u32,
        sampling: &SamplingArguments,
        on_step: &mut dyn FnMut(&mut Job) -> ControlFlow<()>,
    ) -> Result<Vec<RgbImage>> {
        let options = sampling.options(1, &self.plan, self.upsampler.config());
        let options = SampleOptions { first_sample, ..options };
        let small: Vec<&RgbImage> = small.iter().collect();
        Ok(self.upsampler.sample_all(&small, &options, on_step)?.concat())
    }

    /// What a file says about it, with the name of the crop that small images are.
    pub fn record(&self, crop: Option<&'static str>) -> record::Upsampler {
        let file = record::File::new("upsampler", self.upsampler.model());
        record::Upsampler { steps: self.plan.method.respacing.clone(), crop, file }
    }
}
