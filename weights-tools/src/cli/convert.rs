//! `percept-weights convert`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use percept::{Error, Result};
use percept_weights::Checkpoint;
use percept_weights::convert::{Conversion, Converted, Options, Source, paths, plan, write};
use percept_weights::hyperparameters::Given;
use percept_weights::layouts::Part;
use percept_weights::report;
use percept_weights::rounding::Float;
use serde_json::{Map, Value};

use super::print;

#[derive(Args)]
pub struct Arguments {
    /// The checkpoint: a .safetensors file, an index of several, a torch.save file or .npz; several files form one
    /// checkpoint
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,
    /// The model file to write; the head of an encoder goes to NAME.head.safetensors
    #[arg(short, long, required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Convert only this part of the checkpoint
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// The type to store matrices in; vectors stay f32 [default: as in the checkpoint]
    #[arg(long, value_enum)]
    dtype: Option<Float>,
    /// The released diffusion model whose flags to use: rcdm-128, adm-64, -128, -256, -256-uncond, -512,
    /// upsampler-64-256, -128-512
    #[arg(long)]
    preset: Option<String>,
    /// A JSON file of flags that the weights do not determine, under guided-diffusion's names
    #[arg(long, value_name = "FILE.json")]
    config: Option<PathBuf>,
    /// How to prepare the encoder's pictures: rcdm, squash or imagenet [default: rcdm]
    #[arg(long, value_name = "PRESET")]
    preprocessing: Option<String>,
    /// Height and width of the pictures that the encoder reads [default: 224, or a transformer's own size]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<u32>,
    /// Fold batch norms and spectral norms into the weights: fewer tensors, the same function
    #[arg(long)]
    fold: bool,
    /// The licence of the weights, for the file's metadata, such as CC-BY-NC-4.0
    #[arg(long, value_name = "TEXT")]
    license: Option<String>,
    /// Write the tensors that fit, even if others are missing, have another shape or are unexpected
    #[arg(long)]
    allow: bool,
    /// Do everything except write files
    #[arg(long)]
    dry_run: bool,
    /// Print a line per tensor: its largest element, its largest rounding error and the number of overflows
    #[arg(long)]
    tensors: bool,
}

/// Runs the command. Returns false if a tensor does not fit its model (unless `--allow` is given) or has an
/// element that is not finite.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let checkpoint = Checkpoint::open_all(&arguments.sources)?;
    let given = Given { preset: arguments.preset.clone(), flags: flags(arguments.config.as_deref())? };
    let options = Options {
        part: arguments.part,
        given,
        dtype: arguments.dtype,
        preprocessing: arguments.preprocessing.clone(),
        image_size: arguments.image_size,
        fold: arguments.fold,
        license: arguments.license.clone(),
    };
    let (conversions, unused) = plan(&checkpoint, &options)?;
    refuse_without_an_encoder(arguments, &conversions)?;
    print(&format!("{}: {}, {} tensors\n", checkpoint.name(), checkpoint.format(), checkpoint.tensors().len()))?;

    let is_writing = !arguments.dry_run && (arguments.allow || conversions.iter().all(|plan| plan.faults.is_none()));
    let bar = progress(conversions.iter().map(Conversion::byte_len).sum());
    let count = |bytes| bar.inc(bytes);
    let paths = match &arguments.output {
        Some(output) => paths(&conversions, output).into_iter().map(Some).collect(),
        None => vec![None; conversions.len()],
    };
    let converted = if is_writing {
        let source = Source::new(&arguments.sources, &conversions);
        let pairs: Vec<(&Conversion, PathBuf)> = conversions.iter().zip(paths.iter().flatten().cloned()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| source.hashes());
            write(&pairs, &source, options.license.as_deref(), &count, &report::refuse_not_finite)
        })
    } else {
        conversions.iter().map(|conversion| conversion.dry_run(&count)).collect()
    };
    bar.finish_and_clear();
    let converted = converted?;

    let mut is_well = true;
    for ((conversion, converted), path) in conversions.iter().zip(&converted).zip(&paths) {
        print(&report::planned(conversion))?;
        print(&report::converted(converted, arguments.tensors))?;
        let faults: Vec<String> = converted.iter().filter_map(report::fault).collect();
        faults.iter().try_for_each(|fault| print(&format!("  {fault}\n")))?;
        is_well &= faults.is_empty() && (arguments.allow || conversion.faults.is_none());
        if let Some(path) = path.as_ref().filter(|_| is_writing || arguments.dry_run) {
            print(&report::written(conversion, path, arguments.dry_run))?;
        }
    }
    print(&report::unused(&unused))?;
    if conversions.iter().any(|conversion| conversion.config.preset == Some("rcdm-128")) && options.license.is_none() {
        print(
            "the RCDM weights that were released are under CC-BY-NC 4.0: --license CC-BY-NC-4.0 writes so into the file\n",
        )?;
    }
    if !is_well && !arguments.dry_run {
        print(not_written(&converted))?;
    }
    Ok(is_well)
}

/// Refuses flags about an encoder's pictures if there is no encoder to convert.
fn refuse_without_an_encoder(arguments: &Arguments, conversions: &[Conversion]) -> Result<()> {
    if conversions.iter().any(|conversion| conversion.model.part == Part::Trunk) {
        return Ok(());
    }
    let size = arguments.image_size.map(|size| size.to_string());
    for (flag, given) in [("--preprocessing", &arguments.preprocessing), ("--image-size", &size)] {
        if let Some(given) = given {
            return Err(Error::config(flag, "none without an encoder", given));
        }
    }
    Ok(())
}

fn not_written(converted: &[Vec<Converted>]) -> &'static str {
    match converted.iter().flatten().any(|one| report::fault(one).is_some()) {
        true => "nothing was written\n",
        false => {
            "nothing was written; --allow writes what fits, which percept will not load where tensors are missing\n"
        }
    }
}

/// Reads the flags of a file. Returns no flags without a file.
fn flags(path: Option<&Path>) -> Result<Map<String, Value>> {
    let Some(path) = path else { return Ok(Map::new()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::file(path.display(), "a readable JSON file of flags", error))?;
    let flags: Value =
        serde_json::from_str(&text).map_err(|error| Error::file(path.display(), "a JSON object of flags", error))?;
    match flags {
        Value::Object(flags) => Ok(flags),
        _ => Err(Error::file(path.display(), "a JSON object of flags", "another JSON value")),
    }
}

/// Returns a progress bar with the time left. It is shown on standard error, and only if that is a terminal.
fn progress(bytes: u64) -> ProgressBar {
    // If the template does not parse, only the layout of the bar suffers.
    let style = ProgressStyle::with_template("converting [{bar:40}] {percent:>3} % {elapsed} gone, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(bytes).with_style(style).with_finish(ProgressFinish::AndClear)
}
