//! `percept sample`

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgGroup, Args, ValueEnum};
use image::RgbImage;
use image::imageops::{self, FilterType};
use percept::diffusion::{Sampler, space_timesteps};
use percept::pipeline::grid::{Grid, Row};
use percept::pipeline::{Bundle, Device, Job, Method, Progress, SampleOptions, output};
use percept::weights::WeightSource;
use percept::{Error, Result};

use crate::demo;
use crate::encoder::EncoderArguments;
use crate::large::Run;
use crate::pictures;
use crate::record::{self, Record, file_name};
use crate::start::{Beginning, StartArguments};
use crate::terminal::{print, progress};

/// Pictures are kept at no more pixels a side than this: no cell of a grid is larger.
const KEPT_SIDE: u32 = 1024;

/// More samples of a picture than any grid has room for: cells are 96 pixels wide or more.
const TOO_MANY: usize = 10_000;

#[derive(Args)]
#[command(group(ArgGroup::new("own").args(["encoder"]).requires_all(["decoder", "images"])))]
pub struct Arguments {
    /// Pictures, PNG or JPEG, folders of them, or patterns such as 'photos/*.jpg'; without any, those of the demo
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// An encoder and its decoder, NAME.bundle.json [default: the demo's trunk and head]
    ///
    /// An encoder and its decoder, NAME.bundle.json. Given several times, the samples stand side by side,
    /// all from the same noise. [default: the demo's trunk and head]
    #[arg(long, value_name = "FILE", requires = "images", conflicts_with_all = ["encoder", "decoder"])]
    bundle: Vec<PathBuf>,
    #[command(flatten)]
    encoder: EncoderArguments,
    /// The model file of the decoder that was trained on the representation
    #[arg(long, value_name = "FILE", requires_all = ["encoder", "images"])]
    decoder: Option<PathBuf>,

    /// Samples of each picture from each bundle
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Steps: a number, or a timestep_respacing of guided-diffusion
    ///
    /// Steps: a number, or any timestep_respacing of guided-diffusion, such as ddim50 or 10,10,20; "" is all
    /// steps of the model. With the ddim sampler a number N is read as ddimN, which is every k-th step,
    /// where some whole k gives N of them; otherwise, and with ddpm, N steps are spread evenly over all,
    /// the first and the last included. guided-diffusion samples with either; the file says which it was.
    #[arg(long, value_name = "S", default_value = "25")]
    steps: String,
    /// The sampler
    #[arg(long, value_enum, default_value_t = SamplerName::Ddpm)]
    sampler: SamplerName,
    /// How much noise a step of ddim adds, from 0 to 1
    #[arg(long, value_name = "E", default_value_t = 0.0, allow_negative_numbers = true)]
    eta: f64,
    /// The class, for a decoder that wants one
    #[arg(long, value_name = "C")]
    class: Option<u32>,
    /// What noise is drawn from: the same seed gives the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    start: StartArguments,
    /// Images computed at once; changes time and memory, not the result [default: as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Threads of the CPU; changes the time, not the result [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// What to write: FILE.png, a labelled grid, or FILE.npz, the samples alone
    ///
    /// What to write: FILE.png is a labelled grid whose text chunks say how it was made; FILE.npz has all
    /// samples as arr_0, uint8 [N, H, W, 3], in order of bundle, picture, sample.
    #[arg(short, long, value_name = "FILE", default_value = "percept.png")]
    output: PathBuf,
    /// Go on with a run into FILE.npz that was interrupted, if there is one
    ///
    /// Go on with a run into FILE.npz that was interrupted, if there is one: the same command, to the same bytes. Until it is
    /// whole, FILE.npz.part has the samples and FILE.npz.state says what they are of.
    #[arg(long)]
    resume: bool,
    /// Print one JSON object about what was done
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SamplerName {
    Ddpm,
    Ddim,
}

impl SamplerName {
    fn name(self) -> &'static str {
        match self {
            SamplerName::Ddpm => "ddpm",
            SamplerName::Ddim => "ddim",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Png,
    Npz,
}

/// A bundle, and how it is sampled: a group of columns of the grid.
pub struct Group {
    pub name: String,
    pub bundle: Bundle,
    pub method: Method,
    /// How many steps the method takes.
    pub steps: usize,
    /// Of each picture.
    pub representations: Vec<Vec<f32>>,
}

/// Samples and writes. All that can be known to fail does so before the first sample.
pub fn run(arguments: &Arguments, device: &str) -> Result<ExitCode> {
    let started = Instant::now();
    let format = check_output(&arguments.output)?;
    if arguments.resume && format == Format::Png {
        return Err(Error::config("--resume", "-o FILE.npz, which is written as it goes", arguments.output.display()));
    }
    Sampler::new(arguments.sampler.name(), arguments.eta)?;
    let is_demo = arguments.images.is_empty();
    let paths = if is_demo { demo::pictures()? } else { pictures::named(&arguments.images)? };
    check_not_input(&arguments.output, &paths)?;
    let device = crate::open_device(device, arguments.threads)?;
    let mut groups = arguments.groups(&device)?;
    let labels: Vec<String> = paths.iter().map(|path| label(path, is_demo)).collect();
    arguments.check_result(&groups, &labels, format)?;

    let written = groups.iter().map(|group| record::Group {
        name: group.name.clone(),
        layer: group.bundle.layer.clone(),
        preprocessing: group.bundle.encoder.preprocessing().to_string(),
        steps: group.method.respacing.clone(),
        files: record::File::of(&group.bundle),
    });
    let record = Record {
        seed: arguments.seed,
        sampler: arguments.sampler.name().into(),
        eta: arguments.eta,
        samples: arguments.samples as usize,
        class: arguments.class,
        start: arguments.start.text(),
        device: device.name(),
        pictures: paths.iter().map(|path| file_name(path)).collect(),
        groups: written.collect(),
    };
    let total = paths.len() * arguments.samples as usize;
    let sizes = groups.iter().map(|group| group.bundle.rcdm.config().image_size);
    let mut beginnings = sizes.map(|size| arguments.start.open(total, size)).collect::<Result<Vec<_>>>()?;
    match format {
        Format::Png => {
            let pictures = encode(&paths, &mut groups, &shrunk)?;
            let samples = arguments.sample(&mut groups, &mut beginnings)?;
            let text = record.text();
            let text: Vec<(&str, &str)> = text.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
            output::write_png(&arguments.output, &grid(&groups, &labels, pictures, samples).render()?, &text)?;
        }
        Format::Npz => {
            let run = Run::open(&arguments.output, arguments.depends_on(&record, &paths)?, arguments.resume)?;
            encode(&paths, &mut groups, &drop)?;
            run.finish(&groups, &mut beginnings, &arguments.options())?;
        }
    }

    let seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        print(record.json(&arguments.output, seconds))?;
    } else {
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let (file, pictures, samples) = (arguments.output.display(), count(paths.len(), "picture"), arguments.samples);
        let samples = count(samples as usize, "sample");
        print(format_args!("{file}: {pictures}, {samples} of each from {}, {seconds:.1} s", names.join(" and ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Opens the bundles and works out how each is sampled.
    fn groups(&self, device: &Device) -> Result<Vec<Group>> {
        let bundles = match (self.encoder.open(device)?, &self.decoder) {
            (Some(encoder), Some(decoder)) => {
                let bundle = Bundle::of(encoder, decoder, device)?;
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
        let config = bundle.rcdm.config();
        let (respacing, steps) = self.respacing(config.diffusion_steps)?;
        let decoder = file_name(bundle.rcdm.model().name().as_ref());
        let (expected, got) = match (self.class, config.classes()) {
            (Some(class), 0) => (format!("none, since {decoder} is not class-conditional"), class.to_string()),
            (None, classes @ 1..) => {
                (format!("0 to {}, since {decoder} is class-conditional", classes - 1), "none".into())
            }
            (Some(class), classes) if class as usize >= classes => {
                (format!("0 to {}, the classes of {decoder}", classes - 1), class.to_string())
            }
            _ => {
                let sampler = Sampler::new(self.sampler.name(), self.eta)?;
                let method = Method { sampler, respacing, clip: true };
                return Ok(Group { name, bundle, method, steps, representations: Vec::new() });
            }
        };
        Err(Error::config("--class", expected, got))
    }

    /// `--steps` as a `timestep_respacing`, and how many steps that is.
    fn respacing(&self, diffusion_steps: usize) -> Result<(String, usize)> {
        if let (SamplerName::Ddim, Ok(count)) = (self.sampler, self.steps.parse::<usize>()) {
            let strided = format!("ddim{count}");
            if space_timesteps(diffusion_steps, &strided).is_ok() {
                return Ok((strided, count));
            }
        }
        let timesteps = space_timesteps(diffusion_steps, &self.steps)?;
        Ok((self.steps.clone(), timesteps.len()))
    }

    /// Refuses what could not be written.
    fn check_result(&self, groups: &[Group], labels: &[String], format: Format) -> Result<()> {
        match format {
            // A grid is as wide as its widest row: blank pictures in the first stand for all that will come.
            Format::Png => {
                let blank = RgbImage::new(1, 1);
                let mut rows = vec![Vec::new(); labels.len()];
                rows[0] = vec![blank.clone(); (self.samples as usize).min(TOO_MANY)];
                grid(groups, labels, vec![blank; labels.len()], vec![rows; groups.len()]).render().map(|_| ())
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

    /// What is the same for all bundles.
    fn options(&self) -> SampleOptions {
        SampleOptions {
            samples: self.samples as usize,
            seed: self.seed,
            batch: self.batch.map(|batch| batch as usize),
            class: self.class,
            ..SampleOptions::default()
        }
    }

    /// What the bytes of an npz file depend on, by names.
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

    /// The samples by bundle, picture and number.
    fn sample(&self, groups: &mut [Group], beginnings: &mut [Beginning]) -> Result<Vec<Vec<Vec<RgbImage>>>> {
        // A group's share of the bar is its steps, however they are batched.
        let bar = progress(groups.iter().map(|group| group.steps as u64).sum::<u64>() * SUBSTEPS, "sampling");
        let mut all = Vec::new();
        let mut before = 0;
        for (group, beginning) in groups.iter().zip(beginnings) {
            bar.set_message(group.name.clone());
            let start = beginning.of(0..group.representations.len() * self.samples as usize)?;
            let options = SampleOptions { method: group.method.clone(), start, ..self.options() };
            let representations: Vec<&[f32]> = group.representations.iter().map(Vec::as_slice).collect();
            let share = group.steps as u64 * SUBSTEPS;
            let mut on_step = |job: &mut Job| {
                let Progress { done, total, .. } = job.progress();
                bar.set_position(before + share * done as u64 / total as u64);
                ControlFlow::Continue(())
            };
            all.push(group.bundle.rcdm.sample_all(&representations, &options, &mut on_step)?);
            before += share;
        }
        Ok(all)
    }
}

/// Parts of a step in a progress bar, so that it moves for every batch.
const SUBSTEPS: u64 = 1000;

/// What to write by the file's name, after seeing that it can be written.
fn check_output(path: &Path) -> Result<Format> {
    let at = format!("-o {}", path.display());
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let format = match extension.as_deref() {
        Some("png") => Format::Png,
        Some("npz") => Format::Npz,
        other => {
            let got = other.map_or("none of these".to_owned(), |other| format!(".{other}"));
            return Err(Error::config(at, "a name that ends in .png or .npz", got));
        }
    };
    if path.is_dir() {
        return Err(Error::file(at, "a file's name", "a folder"));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::file(at, format!("{} to be a folder", folder.display()), "no such folder"));
    }
    // It has no name and is gone at once.
    tempfile::tempfile_in(folder).map_err(|error| Error::file(at, "a folder that can be written to", error))?;
    Ok(format)
}

/// Refuses to write over a picture that is read.
fn check_not_input(output: &Path, pictures: &[PathBuf]) -> Result<()> {
    let Ok(written) = fs::canonicalize(output) else { return Ok(()) };
    match pictures.iter().find(|picture| fs::canonicalize(picture).is_ok_and(|read| read == written)) {
        Some(picture) => {
            let expected = "another file than the pictures";
            Err(Error::file(format!("-o {}", output.display()), expected, picture.display()))
        }
        None => Ok(()),
    }
}

/// Encodes the pictures by every bundle's encoder; returns what is kept of each.
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

/// Pictures are held till the end, and there may be many.
fn shrunk(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= KEPT_SIDE {
        return picture;
    }
    let side = |length: u32| (u64::from(length) * u64::from(KEPT_SIDE) / u64::from(longer)).max(1) as u32;
    imageops::resize(&picture, side(width), side(height), FilterType::Triangle)
}

/// A row per picture: the picture, then its samples from each bundle.
fn grid(groups: &[Group], labels: &[String], pictures: Vec<RgbImage>, samples: Vec<Vec<Vec<RgbImage>>>) -> Grid {
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
    let size = groups.iter().map(|group| group.bundle.rcdm.config().image_size).max().unwrap_or(1);
    Grid { sample_size: size as u32, headings, rows }
}

/// The bundle's name, and the layer where that does not say it.
fn heading(group: &Group) -> String {
    match (&group.name, &group.bundle.layer) {
        (name, layer) if name == layer => name.clone(),
        (name, layer) => format!("{name} ({layer})"),
    }
}

/// `NAME` of `NAME.bundle.json`.
fn bundle_name(file: &Path) -> String {
    let name = file_name(file);
    let without = name.strip_suffix(".bundle.json").or(name.strip_suffix(".json"));
    without.unwrap_or(&name).to_owned()
}

/// A picture's label: the name of its file; of the demo's, what follows the number.
fn label(path: &Path, is_demo: bool) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match stem.split_once('_') {
        Some((_, name)) if is_demo => name.to_owned(),
        _ => stem.into_owned(),
    }
}

/// "1 sample", "4 samples".
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
