//! `percept upscale`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use image::RgbImage;
use percept::Preprocessing;
use percept::images;
use percept::images::grid::{Grid, Row};
use percept::weights::WeightSource;
use percept::{Error, Result};

use crate::DeviceArguments;
use crate::output_file::{Format, OutputArguments};
use crate::record::{Record, file_name, label};
use crate::sampling::{Runs, SamplingArguments};
use crate::terminal::count;
use crate::upsampler::Upscaling;

#[derive(Args)]
pub struct Arguments {
    /// PNG or JPEG pictures of the size that the upsampler enlarges
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Model file of the upsampler
    #[arg(long, value_name = "FILE")]
    upsampler: PathBuf,
    /// Crop pictures of another size to this one with RCDM's centre crop, which also prepares pictures for encoders
    #[arg(long)]
    crop: bool,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Upscales and writes the output. Everything that can be checked in advance is checked before the first sample.
pub fn run(arguments: &Arguments, on: &DeviceArguments) -> Result<ExitCode> {
    let started = Instant::now();
    let Arguments { images: paths, sampling, output, .. } = arguments;
    let format = output.check(paths)?;
    sampling.check()?;
    let device = on.open(sampling.threads)?;
    let upscaling = Upscaling::open(&arguments.upsampler, "--steps", &sampling.steps, sampling, &device)?;
    sampling.check_class(&[upscaling.model()])?;
    let [size, large_size] = upscaling.sizes();
    if format == Format::Png {
        // Checks that a grid of this size can be rendered.
        let blank = vec![RgbImage::new(1, 1); paths.len()];
        grid(paths, [size, large_size], &blank, blank.clone()).render()?;
    }
    let small: Vec<RgbImage> = paths.iter().map(|path| arguments.open(path, &upscaling)).collect::<Result<_>>()?;

    let mut runs = Runs::new(upscaling.plan.steps);
    let mut on_step = runs.begin("", upscaling.plan.steps);
    let large = upscaling.upscale(&small, 0, sampling, &mut on_step)?;
    let record = Record {
        seed: sampling.seed,
        sampler: sampling.sampler().into(),
        eta: sampling.eta,
        samples: 1,
        class: sampling.class,
        start: None,
        device: device.name(),
        precision: device.precision().name(),
        pictures: paths.iter().map(|path| file_name(path)).collect(),
        groups: Vec::new(),
        upsampler: Some(upscaling.record(arguments.crop.then_some("rcdm"))),
    };
    match format {
        Format::Png => output.write_grid(&grid(paths, [size, large_size], &small, large), &record)?,
        Format::Npz => output.write_samples(&large)?,
    }
    let what = format!("{} from {size} to {large_size} pixels", count(paths.len(), "picture"));
    output.tell(&record, &what, started.elapsed().as_secs_f64())?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Opens a picture at the size that the upsampler takes.
    fn open(&self, path: &Path, upscaling: &Upscaling) -> Result<RgbImage> {
        let picture = images::open(path)?;
        let [size, _] = upscaling.sizes();
        let (width, height) = picture.dimensions();
        match ([width as usize, height as usize] == [size, size], self.crop) {
            (true, _) => Ok(picture),
            (false, true) => Preprocessing::new("rcdm", size as u32)?.crop(&picture),
            (false, false) => {
                let upsampler = file_name(upscaling.upsampler.model().name().as_ref());
                let expected = format!("{size} x {size} pixels, which {upsampler} makes larger, or --crop");
                Err(Error::image(path.display(), expected, format!("{width} x {height}")))
            }
        }
    }
}

/// Builds a grid with a row per picture: the original, then the enlarged one.
fn grid(paths: &[PathBuf], sizes: [usize; 2], small: &[RgbImage], large: Vec<RgbImage>) -> Grid {
    let row = |((path, small), large): ((&PathBuf, &RgbImage), RgbImage)| Row {
        label: label(path),
        groups: vec![vec![small.clone()], vec![large]],
    };
    Grid {
        sample_size: sizes[1] as u32,
        headings: sizes.iter().map(|size| format!("{size} pixels")).collect(),
        rows: paths.iter().zip(small).zip(large).map(row).collect(),
    }
}
