//! `percept-weights`: converts checkpoints of other projects to model files that percept runs.
//!
//! Results go to standard output, errors to standard error. The exit code is 0 on success, 1 if something failed
//! or does not fit, and 2 if the command line is invalid.

mod convert;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use percept::Preprocessing;
use percept::weights::OpenModel;
use percept::{Error, Result};
use percept_weights::{Checkpoint, bundle, inspect, verify};

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the contents of a checkpoint: its models, and its tensors as a tree with types, shapes and sizes;
    /// reads no values
    Inspect {
        /// A .safetensors file, an index of several, a torch.save file, or .npz
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Convert a checkpoint to model files
    Convert(convert::Arguments),
    /// Check that a model file is intact and runs, or compare two files tensor by tensor
    Verify {
        /// The model file to check, or the first of two files to compare: a model file or a checkpoint
        file: PathBuf,
        /// The second file to compare
        other: Option<PathBuf>,
        /// The largest relative error, |B - A| / |A|, at which two tensors count as equal
        #[arg(long, default_value_t = 0.0, requires = "other")]
        tolerance: f64,
    },
    /// Put an encoder, optionally its head, and a decoder into one folder, with a bundle file for
    /// `percept sample --bundle`
    Bundle {
        /// The encoder's model file
        #[arg(long)]
        encoder: PathBuf,
        /// The head's model file, if the representation is the head's output
        #[arg(long)]
        head: Option<PathBuf>,
        /// The decoder's model file
        #[arg(long)]
        decoder: PathBuf,
        /// How to prepare the encoder's pictures: rcdm, squash or imagenet [default: as in the encoder's file]
        #[arg(long, value_name = "PRESET")]
        preprocessing: Option<String>,
        /// Height and width of the pictures that the encoder reads [default: as in the encoder's file]
        #[arg(long, value_name = "PIXELS")]
        image_size: Option<u32>,
        /// The bundle file, FOLDER/NAME.bundle.json
        #[arg(short, long)]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command. Returns false if it found something that does not fit.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Inspect { file, json } => {
            let checkpoint = Checkpoint::open(&file)?;
            print(&if json { inspect::json(&checkpoint) } else { inspect::text(&checkpoint) })?;
            Ok(true)
        }
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Verify { file, other: None, .. } => {
            let verified = verify::file(&file)?;
            let hashes = match verified.hashed {
                0 => "no hashes in its metadata".to_string(),
                count => format!("SHA-256 of {count} as written"),
            };
            let mut text = format!("{}: whole, {} tensors, {hashes}\n", file.display(), verified.tensors);
            for (output, largest) in verified.outputs {
                text += &format!("runs on the CPU: {output} is finite, up to {largest:.3e}\n");
            }
            print(&text)?;
            Ok(true)
        }
        Command::Verify { file, other: Some(other), tolerance } => {
            let comparison = verify::compare(&file, &other)?;
            let mut text = String::new();
            // NaN counts as unequal, because it is not at most the tolerance.
            let is_equal = |relative: f64| relative <= tolerance;
            let unequal = comparison.compared.iter().filter(|(_, relative, _)| !is_equal(*relative));
            for (name, relative, largest) in unequal.clone() {
                text += &format!("{name}: relative error {relative:.1e}, largest difference {largest:.1e}\n");
            }
            comparison.different.iter().for_each(|line| text += &format!("{line}\n"));
            let (compared, unequal) = (comparison.compared.len(), unequal.count());
            let worst = comparison.compared.iter().map(|(_, relative, _)| *relative).fold(0.0, f64::max);
            let different = comparison.different.len();
            text += &format!(
                "{compared} tensors compared, {unequal} of them differ, relative error at most {worst:.1e}; {different} not in both\n"
            );
            print(&text)?;
            Ok(unequal + different == 0 && compared > 0)
        }
        Command::Bundle { encoder, head, decoder, preprocessing, image_size, output } => {
            let preprocessing = match (preprocessing.as_deref(), image_size) {
                (None, None) => None,
                (preset, size) => {
                    let named = Preprocessing::named_by(&OpenModel::open(&encoder)?)?.unwrap_or_default();
                    Some(named.with(preset, size)?)
                }
            };
            bundle::write(&output, &bundle::Files { encoder, head, decoder }, preprocessing)?;
            print(&format!("written to {}\n", output.display()))?;
            Ok(true)
        }
    }
}

/// Writes to standard output. It is not an error if the reader closes the pipe early, as `head` does.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", "a place to write to", error))
        }
        _ => Ok(()),
    }
}
