//! `percept sample`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgGroup, Args};
use image::RgbImage;
use image::imageops::{self, FilterType};
use percept::images::grid::{Grid, Row};
use percept::weights::WeightSource;
use percept::{Bundle, Device, Rcdm, SampleOptions};
use percept::{Error, Result};

use crate::DeviceArguments;
use crate::demo;
use crate::encoder::EncoderArguments;
use crate::large::Run;
use crate::output_file::{Format, OutputArguments};
use crate::pictures;
use crate::record::{self, Record, file_name};
use crate::sampling::{Group, Runs, SamplingArguments};
use crate::start::{Beginning, StartArguments};
use crate::terminal::{count, progress};
use crate::upsampler::Upscaling;

/// The maximum width and height of the pictures that are kept. No cell of a grid is larger.
const KEPT_SIDE: u32 = 1024;

/// More samples of a picture than any grid has room for: cells are at least 96 pixels wide.
const TOO_MANY: usize = 10_000;

#[derive(Args)]
#[command(group(ArgGroup::new("own").args(["encoder"]).requires_all(["decoder", "images"])))]
pub struct Arguments {
    /// PNG or JPEG pictures, folders of them, or patterns such as 'photos/*.jpg' [default: the demo's pictures]
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Bundle of an encoder and its decoder, NAME.bundle.json [default: the demo's trunk and head]
    ///
    /// If this is given several times, the samples of the bundles stand side by side and start from the same noise.
    #[arg(long, value_name = "FILE", requires = "images", conflicts_with_all = ["encoder", "decoder"])]
    bundle: Vec<PathBuf>,
    #[command(flatten)]
    encoder: EncoderArguments,
    /// Model file of the decoder that was trained on the representation
    #[arg(long, value_name = "FILE", requires_all = ["encoder", "images"])]
    decoder: Option<PathBuf>,

    /// Number of samples of each picture from each bundle
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Model file of an upsampler that enlarges every sample
    #[arg(long, value_name = "FILE")]
    upsampler: Option<PathBuf>,
    /// Number of steps of the upsampler, in the form of --steps [default: the value of --steps]
    #[arg(long, value_name = "S", requires = "upsampler")]
    upsampler_steps: Option<String>,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    start: StartArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Resume an interrupted run into FILE.npz, if there is one
    ///
    /// The command must be the same, and the resumed run writes the same bytes. Until the run is complete,
    /// FILE.npz.part holds the samples and FILE.npz.state records what they depend on.
    #[arg(long)]
    resume: bool,
}

/// Samples and writes the output. Everything that can be checked in advance is checked before the first sample.
pub fn run(arguments: &Arguments, on: &DeviceArguments) -> Result<ExitCode> {
    let started = Instant::now();
    let Arguments { sampling, output, .. } = arguments;
    let is_demo = arguments.images.is_empty();
    let paths = if is_demo { demo::pictures()? } else { pictures::named(&arguments.images)? };
    let format = output.check(&paths)?;
    if arguments.resume && format == Format::Png {
        return Err(Error::config("--resume", "-o FILE.npz, which is written as it goes", output.path().display()));
    }
    sampling.check()?;
    let device = on.open(sampling.threads)?;
    let mut groups = arguments.groups(&device)?;
    let upscaling = arguments.upscaling(&groups, &device)?;
    let decoders = groups.iter().map(|group| (group.bundle.rcdm.model(), group.bundle.rcdm.config()));
    sampling.check_class(&decoders.chain(upscaling.as_ref().map(Upscaling::model)).collect::<Vec<_>>())?;
    let size = size(&groups, upscaling.as_ref());
    let labels: Vec<String> = paths.iter().map(|path| label(path, is_demo)).collect();
    arguments.check_result(&groups, size, &labels, format)?;

    let written = groups.iter().map(|group| record::Group {
        name: group.name.clone(),
        layer: group.bundle.layer.clone(),
        preprocessing: group.bundle.encoder.preprocessing().to_string(),
        steps: group.plan.respacing.clone(),
        files: record::File::of(&group.bundle),
    });
    let record = Record {
        seed: sampling.seed,
        sampler: sampling.sampler().into(),
        eta: sampling.eta,
        samples: arguments.samples as usize,
        class: sampling.class,
        start: arguments.start.text(),
        device: device.name(),
        precision: device.precision().name(),
        pictures: paths.iter().map(|path| file_name(path)).collect(),
        groups: written.collect(),
        upsampler: upscaling.as_ref().map(|upscaling| upscaling.record(None)),
    };
    let total = paths.len() * arguments.samples as usize;
    let sizes = groups.iter().map(|group| group.bundle.rcdm.config().image_size);
    let mut beginnings = sizes.map(|size| arguments.start.open(total, size)).collect::<Result<Vec<_>>>()?;
    match format {
        Format::Png => {
            let pictures = encode(&paths, &mut groups, &shrunk)?;
            let samples = arguments.sample(&groups, upscaling.as_ref(), &mut beginnings)?;
            output.write_grid(&grid(&groups, size, &labels, pictures, samples), &record)?;
        }
        Format::Npz => {
            let run = Run::open(output.path(), arguments.depends_on(&record, &paths)?, arguments.resume)?;
            encode(&paths, &mut groups, &drop)?;
            run.finish(&groups, upscaling.as_ref(), &mut beginnings, sampling, arguments.samples as usize)?;
        }
    }
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let (pictures, samples) = (count(paths.len(), "picture"), count(arguments.samples as usize, "sample"));
    let of_size = upscaling.as_ref().map_or(String::new(), |_| format!(", {size} pixels a side"));
    let what = format!("{pictures}, {samples} of each from {}{of_size}", names.join(" and "));
    output.tell(&record, &what, started.elapsed().as_secs_f64())?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Opens the bundles and plans how each is sampled.
    fn groups(&self, device: &Device) -> Result<Vec<Group>> {
        let bundles = match (self.encoder.open(device)?, &self.decoder) {
            (Some(encoder), Some(decoder)) => {
                let bundle = Bundle::of(encoder, Rcdm::open(decoder, device)?)?;
                vec![(bundle.layer.clone(), bundle)]
            }
            _ => {
                let files = if self.bundle.is_empty() { demo::bundles()? } else { self.bundle.clone() };
                let open = |file: &PathBuf| Ok((bundle_name(file), self.encoder.open_bundle(file, device)?));
                files.iter().map(open).collect::<Result<_>>()?
            }
        };
        bundles.into_iter().map(|(name, bundle)| self.group(name, bundle)).collect()
    }

    fn group(&self, name: String, bundle: Bundle) -> Result<Group> {
        let plan = self.sampling.plan("--steps", &self.sampling.steps, bundle.rcdm.config())?;
        Ok(Group { name, bundle, plan, representations: Vec::new() })
    }

    /// Opens the upsampler, if one is given. Its small images must have the size of every decoder's images.
    fn upscaling(&self, groups: &[Group], device: &Device) -> Result<Option<Upscaling>> {
        let Some(path) = &self.upsampler else { return Ok(None) };
        let (flag, steps) = match &self.upsampler_steps {
            Some(steps) => ("--upsampler-steps", steps),
            None => ("--steps", &self.sampling.steps),
        };
        let upscaling = Upscaling::open(path, flag, steps, &self.sampling, device)?;
        let [small, _] = upscaling.sizes();
        let decoders = groups.iter().map(|group| &group.bundle.rcdm);
        match decoders.into_iter().find(|decoder| decoder.config().image_size != small) {
            Some(decoder) => {
                let (size, decoder) = (decoder.config().image_size, file_name(decoder.model().name().as_ref()));
                let expected = format!("an upsampler of images of {size} pixels a side, as {decoder} makes them");
                Err(Error::file(path.display(), expected, format!("one of {small}")))
            }
            None => Ok(Some(upscaling)),
        }
    }

    /// Returns an error if the result could not be written.
    fn check_result(&self, groups: &[Group], size: usize, labels: &[String], format: Format) -> Result<()> {
        match format {
            // A grid is as wide as its widest row, so blank samples in the first row stand for those of all rows.
            Format::Png => {
                let blank = RgbImage::new(1, 1);
                let mut rows = vec![Vec::new(); labels.len()];
                rows[0] = vec![blank.clone(); (self.samples as usize).min(TOO_MANY)];
                grid(groups, size, labels, vec![blank; labels.len()], vec![rows; groups.len()]).render().map(|_| ())
            }
            Format::Npz => {
                let size = |group: &Group| group.bundle.rcdm.config().image_size;
                match groups.iter().find(|group| size(group) != size(&groups[0])) {
                    Some(other) => {
                        let expected =
                            format!("decoders of images of one size, {} as {}'s", size(&groups[0]), groups[0].name);
                        Err(Error::config("-o FILE.npz", expected, format!("{} of {}", size(other), other.name)))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Returns the values that the bytes of an npz file depend on, by name.
    fn depends_on(&self, record: &Record, paths: &[PathBuf]) -> Result<BTreeMap<String, String>> {
        let mut of = record.depends_on();
        let (file, step) = self.start.named();
        let named = (1..).zip(paths).map(|(number, path)| (format!("picture {number}"), path.as_path()));
        for (name, path) in named.chain(file.map(|file| ("start".to_string(), file))) {
            of.insert(name, format!("{}, SHA-256 {}", file_name(path), record::sha256_of(path)?));
        }
        of.extend(step.map(|step| ("start step".to_string(), step.to_string())));
        Ok(of)
    }

    /// Draws the samples. Returns them by bundle, picture and number.
    fn sample(
        &self,
        groups: &[Group],
        upscaling: Option<&Upscaling>,
        beginnings: &mut [Beginning],
    ) -> Result<Vec<Vec<Vec<RgbImage>>>> {
        let steps_of = |group: &Group| group.plan.steps + upscaling.map_or(0, |upscaling| upscaling.plan.steps);
        let mut runs = Runs::new(groups.iter().map(steps_of).sum());
        let mut all = Vec::new();
        for (group, beginning) in groups.iter().zip(beginnings) {
            let rcdm = &group.bundle.rcdm;
            let start = beginning.of(0..group.representations.len() * self.samples as usize)?;
            let options = SampleOptions { start, ..self.sampling.options(self.samples, &group.plan, rcdm.config()) };
            let representations: Vec<&[f32]> = group.representations.iter().map(Vec::as_slice).collect();
            let mut on_step = runs.begin(&group.name, group.plan.steps);
            let mut samples = rcdm.sample_all(&representations, &options, &mut on_step)?;
            if let Some(upscaling) = upscaling {
                let mut on_step = runs.begin(&format!("{}, larger", group.name), upscaling.plan.steps);
                let small: Vec<RgbImage> = samples.into_iter().flatten().collect();
                let large = upscaling.upscale(&small, 0, &self.sampling, &mut on_step)?;
                samples = large.chunks(options.samples).map(<[RgbImage]>::to_vec).collect();
            }
            all.push(samples);
        }
        Ok(all)
    }
}

/// Returns the width and height of the largest samples, in pixels.
fn size(groups: &[Group], upscaling: Option<&Upscaling>) -> usize {
    let of_decoders = groups.iter().map(|group| group.bundle.rcdm.config().image_size).max().unwrap_or(1);
    upscaling.map_or(of_decoders, |upscaling| upscaling.sizes()[1])
}

/// Encodes the pictures with every bundle's encoder. Returns the result of `keep` for each picture.
fn encode<T>(paths: &[PathBuf], groups: &mut [Group], keep: &dyn Fn(RgbImage) -> T) -> Result<Vec<T>> {
    let bar = progress(paths.len() as u64, "encoding");
    let mut kept = Vec::new();
    let batch = groups.iter().map(|group| group.bundle.encoder.batch()).max().unwrap_or(1);
    for paths in paths.chunks(batch) {
        let opened = pictures::open(paths)?;
        for group in &mut *groups {
            group.representations.extend(pictures::encode(&mut group.bundle.encoder, paths, &opened)?);
        }
        kept.extend(opened.into_iter().map(keep));
        bar.inc(paths.len() as u64);
    }
    Ok(kept)
}

/// Shrinks a picture to at most [`KEPT_SIDE`] pixels per side: many pictures may be held until the end.
fn shrunk(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= KEPT_SIDE {
        return picture;
    }
    let side = |length: u32| (u64::from(length) * u64::from(KEPT_SIDE) / u64::from(longer)).max(1) as u32;
    imageops::resize(&picture, side(width), side(height), FilterType::Triangle)
}

/// Builds a grid with a row per picture: the picture, then its samples of `size` x `size` pixels from each bundle.
fn grid(
    groups: &[Group],
    size: usize,
    labels: &[String],
    pictures: Vec<RgbImage>,
    samples: Vec<Vec<Vec<RgbImage>>>,
) -> Grid {
    let mut headings = vec!["picture".to_owned()];
    for (group, of_group) in groups.iter().zip(&samples) {
        let samples = of_group.first().map_or(0, Vec::len);
        headings.push(format!("{}: {}", heading(group), count(samples, "sample")));
    }
    let row = |(label, picture): (&String, RgbImage)| Row { label: label.clone(), groups: vec![vec![picture]] };
    let mut rows: Vec<Row> = labels.iter().zip(pictures).map(row).collect();
    for of_group in samples {
        for (row, samples) in rows.iter_mut().zip(of_group) {
            row.groups.push(samples);
        }
    }
    Grid { sample_size: size as u32, headings, rows }
}

/// Returns the bundle's name, followed by the layer if that has another name.
fn heading(group: &Group) -> String {
    match (&group.name, &group.bundle.layer) {
        (name, layer) if name == layer => name.clone(),
        (name, layer) => format!("{name} ({layer})"),
    }
}

/// Returns `NAME` for `NAME.bundle.json` or `NAME.json`.
fn bundle_name(file: &Path) -> String {
    let name = file_name(file);
    let without = name.strip_suffix(".bundle.json").or(name.strip_suffix(".json"));
    without.unwrap_or(&name).to_owned()
}

/// Returns a picture's label. For a picture of the demo, it is the part after the number.
fn label(path: &Path, is_demo: bool) -> String {
    let stem = record::label(path);
    match stem.split_once('_') {
        Some((_, name)) if is_demo => name.to_owned(),
        _ => stem,
    }
}
