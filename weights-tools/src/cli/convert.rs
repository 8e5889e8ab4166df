//! `percept-weights convert`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use percept::{Error, Result};
use percept_weights::Checkpoint;
use percept_weights::convert::{Conversion, Converted, Options, Source, paths, plan, write};
use percept_weights::hyperparameters::Given;
use percept_weights::recognise::Part;
use percept_weights::report;
use percept_weights::rounding::Float;
use serde_json::{Map, Value};

use super::print;

#[derive(Args)]
pub struct Arguments {
    /// The checkpoint: .safetensors, the index of several, a file of torch.save or .npz; or several files that are one
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,
    /// The model file to write; a head beside an encoder goes to NAME.head.safetensors
    #[arg(short, long, required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Only this part of the checkpoint
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// What matrices are stored as; vectors stay f32. Without it, all as it is
    #[arg(long, value_enum)]
    dtype: Option<Float>,
    /// The flags of a released diffusion model: rcdm-128, adm-64, -128, -256, -256-uncond, -512, upsampler-64-256, -128-512
    #[arg(long)]
    preset: Option<String>,
    /// A JSON file of flags under guided-diffusion's names, for what the weights do not tell
    #[arg(long, value_name = "FILE.json")]
    config: Option<PathBuf>,
    /// How the encoder's pictures are to be prepared: rcdm, squash or imagenet [default: rcdm]
    #[arg(long, value_name = "PRESET")]
    preprocessing: Option<String>,
    /// Height and width of the pictures that the encoder reads [default: 224, or a transformer's own]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<u32>,
    /// Fold batch norms and spectral norms into the weights: fewer tensors, the same function
    #[arg(long)]
    fold: bool,
    /// The licence that the weights are under, for the file's metadata: CC-BY-NC-4.0
    #[arg(long, value_name = "TEXT")]
    license: Option<String>,
    /// Write what fits even where tensors are missing, of another shape or unexpected
    #[arg(long)]
    allow: bool,
    /// Do everything but write
    #[arg(long)]
    dry_run: bool,
    /// Print a line for each tensor: its largest element, its largest rounding error, how many overflowed
    #[arg(long)]
    tensors: bool,
}

/// Whether all was well: a mismatch is not, unless it is allowed.
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

/// Refuses flags about the pictures of an encoder if there is none to convert.
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

/// The flags of a file.
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

/// A bar with the time left, on standard error where that is a terminal and nowhere else.
fn progress(bytes: u64) -> ProgressBar {
    // A template that does not parse would cost the layout of the bar, not the run.
    let style = ProgressStyle::with_template("converting [{bar:40}] {percent:>3} % {elapsed} gone, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(bytes).with_style(style).with_finish(ProgressFinish::AndClear)
}
