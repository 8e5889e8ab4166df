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
mod pictures;
mod profile;
mod record;
mod sample;
mod start;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use percept::cpu::Cpu;
use percept::error::Mismatch;
use percept::pipeline::Device;
use percept::{Error, Result};

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// What computes: auto, cpu or reference (see `percept devices`)
    #[arg(long, global = true, value_name = "NAME", env = "PERCEPT_DEVICE", default_value = "auto")]
    device: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sample images from the representations of pictures; with no arguments, the demo
    Sample(sample::Arguments),
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
    let Cli { device, command } = Cli::parse();
    let outcome = match command {
        Command::Sample(arguments) => sample::run(&arguments, &device),
        Command::Encode(arguments) => encode::run(&arguments, &device),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, &device),
        Command::Bench(arguments) => bench::run(&arguments, &device),
    };
    outcome.unwrap_or_else(|error| {
        terminal::print_error(&by_flag(error));
        ExitCode::FAILURE
    })
}

/// The device of a name, with a number of threads where one is asked for.
fn open_device(name: &str, threads: Option<u32>) -> Result<Device> {
    match (threads, name) {
        (None, _) => Device::named(name),
        (Some(threads), "auto" | "cpu") => Cpu::new(Some(threads as usize)).map(Device::Cpu),
        (Some(threads), _) => Err(Error::config("--threads", "none but with --device cpu", threads)),
    }
}

/// Names the flag in errors that name the option of the library that it sets.
fn by_flag(error: Error) -> Error {
    let flag = |m: Mismatch| {
        let at = match m.at.as_str() {
            "timestep_respacing" => "--steps",
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
