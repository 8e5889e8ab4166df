//! `percept-weights`: checkpoints, and what is in them.
//!
//! Results go to standard output, errors to standard error; the exit code is 0 where all went well, 1 where something failed,
//! 2 where the command line is none.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use percept::{Error, Result};
use percept_weights::{Checkpoint, inspect};

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what is in a checkpoint: its tensors as a tree, with types, shapes and sizes; no values are read
    Inspect {
        /// A .safetensors file, the index of several, or a file of torch.save
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let Cli { command: Command::Inspect { file, json } } = Cli::parse();
    let shown = Checkpoint::open(&file).map(|checkpoint| match json {
        true => inspect::json(&checkpoint),
        false => inspect::text(&checkpoint),
    });
    match shown.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has seen enough, as `head` has, is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", "a place to write to", error))
        }
        _ => Ok(()),
    }
}
