//! The upsampler that the command line selects.

use std::ops::ControlFlow;
use std::path::Path;

use image::RgbImage;
use percept::Result;
use percept::models::UnetConfig;
use percept::weights::OpenModel;
use percept::{Device, Job, SampleOptions, Upsampler};

use crate::record;
use crate::sampling::{Plan, SamplingArguments};

/// An upsampler and the plan to sample it.
pub struct Upscaling {
    pub upsampler: Upsampler,
    pub plan: Plan,
}

impl Upscaling {
    /// Opens an upsampler, to be sampled in `steps`, which is the value of `flag`. Errors in `steps` name the flag.
    pub fn open(path: &Path, flag: &str, steps: &str, sampling: &SamplingArguments, device: &Device) -> Result<Self> {
        let upsampler = Upsampler::open(path, device)?;
        let plan = sampling.plan(flag, steps, upsampler.config())?;
        Ok(Upscaling { upsampler, plan })
    }

    /// Returns the upsampler's file and configuration.
    pub fn model(&self) -> (&OpenModel, &UnetConfig) {
        (self.upsampler.model(), self.upsampler.config())
    }

    /// Returns the pixels per side of a small image and of a large one.
    pub fn sizes(&self) -> [usize; 2] {
        [self.upsampler.config().small_size, self.upsampler.config().image_size]
    }

    /// Enlarges each small image. `first_sample` is the number of the first one in the run.
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

    /// Describes the upsampler for the output file. `crop` names the crop that made the small images.
    pub fn record(&self, crop: Option<&'static str>) -> record::Upsampler {
        let file = record::File::new("upsampler", self.upsampler.model());
        record::Upsampler { steps: self.plan.respacing.clone(), crop, file }
    }
}
