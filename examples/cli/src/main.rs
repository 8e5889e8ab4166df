//! `percept`: visualizes what a neural network's representation of an image retains.
//!
//! One file per subcommand. Results go to standard output, errors and progress to standard error. The exit code is 0 on
//! success, 1 on failure, and 2 if the command line is invalid.

mod demo;
mod encoder;
mod large;
mod output_file;
mod pictures;
mod profile;
mod record;
mod sampling;
mod start;
mod terminal;
mod upsampler;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use percept::Device;
use percept::device::cpu::Cpu;
use percept::error::Mismatch;
use percept::{Error, Precision, Result};

#[derive(Parser)]
#[command(name = "percept", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    on: DeviceArguments,
    #[command(subcommand)]
    command: Command,
}

/// The device to compute on, and its precision.
#[derive(Args)]
struct DeviceArguments {
    /// Device to compute on: auto, cpu, reference, or part of the name of a GPU (see `percept devices`)
    #[arg(long, global = true, value_name = "NAME", env = "PERCEPT_DEVICE", default_value = "auto")]
    device: String,
    /// Type that weights and activations are stored in: f16 takes half the memory, f32 keeps more digits
    #[arg(long, global = true, value_enum, default_value_t = PrecisionName::F32)]
    precision: PrecisionName,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    F32,
    F16,
}

impl DeviceArguments {
    /// Opens the device, with the given number of threads if there is one.
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

macro_rules! commands {
    ($($(#[doc = $help:literal])* $command:ident: $module:ident,)*) => {
        $(mod $module;)*

        #[derive(Subcommand)]
        enum Command {
            $($(#[doc = $help])* $command(Box<$module::Arguments>),)*
        }

        impl Command {
            fn run(&self, on: &DeviceArguments) -> Result<ExitCode> {
                match self {
                    $(Command::$command(arguments) => $module::run(arguments, on),)*
                }
            }
        }
    };
}

// Each command is a module with `Arguments` and `run`, and a line here.
commands! {
    /// Sample images from the representations of pictures; without arguments, run the demo
    Sample: sample,
    /// Enlarge small pictures with an upsampler
    Upscale: upscale,
    /// Write the representations of pictures
    Encode: encode,
    /// List the devices that percept can compute on
    Devices: devices,
    /// Compute golden files and compare the results with the recorded ones
    Check: check,
    /// Measure the time and memory of a network and, with --profile, the time of every op
    Bench: bench,
}

fn main() -> ExitCode {
    let Cli { on, command } = Cli::parse();
    command.run(&on).unwrap_or_else(|error| {
        terminal::print_error(&by_flag(error));
        ExitCode::FAILURE
    })
}

/// Replaces the names of the library's options in errors with the flags that set them.
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
