//! `percept`: samples images from what a network's representation of an image kept of it.
//!
//! One file per subcommand. Results go to standard output, errors and progress to standard error;
//! the exit code is 0 where all went well, 1 where something failed, 2 where the command line is none.

mod bench;
mod check;
mod demo;
mod devices;
mod encode;
mod encoder;
mod large;
mod output_file;
mod pictures;
mod profile;
mod record;
mod sample;
mod sampling;
mod start;
mod terminal;
mod upsampler;
mod upscale;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use percept::cpu::Cpu;
use percept::error::Mismatch;
use percept::pipeline::Device;
use percept::{Error, Precision, Result};

#[derive(Parser)]
#[command(name = "percept", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    on: On,
    #[command(subcommand)]
    command: Command,
}

/// What computes, and how it stores numbers.
#[derive(Args)]
struct On {
    /// What computes: auto, cpu or reference (see `percept devices`)
    #[arg(long, global = true, value_name = "NAME", env = "PERCEPT_DEVICE", default_value = "auto")]
    device: String,
    /// What weights and activations are stored in: half the memory, or more digits
    #[arg(long, global = true, value_enum, default_value_t = PrecisionName::F32)]
    precision: PrecisionName,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    F32,
    F16,
}

impl On {
    /// Opens it, with a number of threads where one is asked for.
    fn open(&self, threads: Option<u32>) -> Result<Device> {
        let device = match (threads, self.device.as_str()) {
            (None, name) => Device::named(name)?,
            (Some(threads), "auto" | "cpu") => Cpu::new(Some(threads as usize))?.into(),
            (Some(threads), _) => return Err(Error::config("--threads", "none but with --device cpu", threads)),
        };
        Ok(device.with_precision(match self.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::F16 => Precision::F16,
        }))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Sample images from the representations of pictures; with no arguments, the demo
    Sample(Box<sample::Arguments>),
    /// Make small pictures larger by an upsampler
    Upscale(upscale::Arguments),
    /// Write the representations of pictures
    Encode(encode::Arguments),
    /// List what percept can compute on
    Devices(devices::Arguments),
    /// Compute golden files and compare with what they say
    Check(check::Arguments),
    /// Measure what a network costs: time, memory, and with --profile every op
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let Cli { on, command } = Cli::parse();
    let outcome = match command {
        Command::Sample(arguments) => sample::run(&arguments, &on),
        Command::Upscale(arguments) => upscale::run(&arguments, &on),
        Command::Encode(arguments) => encode::run(&arguments, &on),
        Command::Devices(arguments) => devices::run(&arguments, &on),
        Command::Check(arguments) => check::run(&arguments, &on),
        Command::Bench(arguments) => bench::run(&arguments, &on),
    };
    outcome.unwrap_or_else(|error| {
        terminal::print_error(&by_flag(error));
        ExitCode::FAILURE
    })
}

/// Names the flag in errors that name the option of the library that it sets.
fn by_flag(error: Error) -> Error {
    let flag = |m: Mismatch| {
        let at = match m.at.as_str() {
            "eta" => "--eta",
            "class" => "--class",
            "samples" => "--samples",
            "size" => "--size",
            "start.step" => "--from-step",
            "layer" => "--layer",
            "preprocessing.preset" => "--preprocessing",
            "preprocessing.size" => "--image-size",
            "arch" => "--encoder random:ARCH",
            "output" => "-o",
            "device" => "--device (or PERCEPT_DEVICE)",
            other => other,
        };
        Mismatch { at: at.to_owned(), ..m }
    };
    match error {
        Error::Config(mismatch) => Error::Config(flag(mismatch)),
        Error::Device(mismatch) => Error::Device(flag(mismatch)),
        other => other,
    }
}
