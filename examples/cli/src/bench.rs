//! `percept bench`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use percept::Device;
use percept::check::{Gauge, Network};
use percept::program::{Memory, Program};
use percept::{Precision, Result};
use serde_json::{Value, json};

use crate::DeviceArguments;
use crate::check::rounding_json;
use crate::profile::{Profile, profile};
use crate::terminal::{print, progress};

/// No further run starts after this long, once [`FEWEST_RUNS`] runs are done.
const LONG_ENOUGH: Duration = Duration::from_secs(20);
/// The time limit applies only after this number of runs, because a median of fewer says little.
const FEWEST_RUNS: usize = 3;

#[derive(Args)]
pub struct Arguments {
    /// Golden of a network or of a sampling run, or a model file
    file: PathBuf,
    /// Number of samples computed at once [default: the golden's number; 1 for a model file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Option<u32>,
    /// Height and width of the images, for an encoder's model file [default: from its preprocessing, else 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=2048))]
    size: Option<u32>,
    /// Maximum number of timed runs after the first; stops after 20 s, but not before 3 runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Time every op, with the device's own clock if it has one
    #[arg(long)]
    profile: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// The measurements of a network on a device.
struct Measured {
    kind: &'static str,
    device: String,
    precision: Precision,
    batch: usize,
    program: Arc<Program>,
    /// The part of `load_ms` that was spent on pipelines.
    pipelines_ms: f64,
    /// The time to create pipelines and load weights.
    load_ms: f64,
    first_run_ms: f64,
    /// The times of the runs after the first, ascending.
    run_ms: Vec<f64>,
    dispatches: usize,
    pipelines: usize,
    memory: Memory,
    /// The peak resident anonymous memory of this process, or `None` if the system does not report it.
    peak: Option<usize>,
    profile: Option<Profile>,
    /// The rounding errors of weights stored in half precision.
    rounding: Option<Value>,
}

/// Measures a network and prints the result.
pub fn run(arguments: &Arguments, on: &DeviceArguments) -> Result<ExitCode> {
    let gauge = Gauge::start();
    let device = on.open(None)?;
    let network = Network::open(&arguments.file, arguments.size.map(|size| size as usize))?;
    let measured = arguments.measure(&network, &device, gauge)?;
    if arguments.json {
        let mut object = measured.json();
        object["file"] = arguments.file.display().to_string().into();
        print(object)?;
    } else {
        print(format_args!("{}: a {}, one forward pass", arguments.file.display(), measured.kind))?;
        measured.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn measure(&self, network: &Network, device: &Device, gauge: Gauge) -> Result<Measured> {
        let batch = self.batch.map_or(network.batch(), |batch| batch as usize);
        let program = Arc::new(network.program(batch)?);
        let pipelines_before = device.pipeline_count();
        let began = Instant::now();
        device.prepare(&program)?;
        let pipelines_ms = milliseconds(began);
        let mut executor = device.load(program.clone(), network.weights())?;
        let load_ms = milliseconds(began);

        network.write_inputs(executor.as_mut())?;
        let body = program.body();
        let mut run = || {
            let began = Instant::now();
            executor.run(body.clone())?;
            executor.finish()?;
            Ok(milliseconds(began))
        };
        let first_run_ms = run()?;
        let run_ms = self.run_ms(&mut run)?;
        let peak = gauge.peak();
        let profile = if self.profile { Some(profile(executor.as_mut())?) } else { None };
        Ok(Measured {
            kind: network.model().kind(),
            device: device.name(),
            precision: device.precision(),
            batch,
            pipelines_ms,
            load_ms,
            first_run_ms,
            run_ms,
            dispatches: executor.dispatches(program.body()),
            pipelines: device.pipeline_count() - pipelines_before,
            memory: executor.memory(),
            peak,
            profile,
            program: Arc::new(executor.program().clone()),
            rounding: rounding_json(executor.weight_rounding()),
        })
    }

    /// Runs the network repeatedly. Returns the times in milliseconds, ascending.
    fn run_ms(&self, run: &mut dyn FnMut() -> Result<f64>) -> Result<Vec<f64>> {
        let bar = progress(u64::from(self.runs), "running");
        let began = Instant::now();
        let mut run_ms = Vec::new();
        for index in 0..self.runs as usize {
            if index >= FEWEST_RUNS && began.elapsed() >= LONG_ENOUGH {
                break;
            }
            run_ms.push(run()?);
            bar.inc(1);
        }
        run_ms.sort_by(f64::total_cmp);
        Ok(run_ms)
    }
}

impl Measured {
    fn median_ms(&self) -> f64 {
        self.run_ms[self.run_ms.len() / 2]
    }

    /// Returns the multiplications and additions of a run, in billions.
    fn gflop(&self) -> f64 {
        2.0 * self.program.multiply_adds() as f64 / 1e9
    }

    fn bytes_moved(&self) -> u64 {
        self.program.bytes_moved(self.program.body())
    }

    fn gb_per_s(&self) -> f64 {
        self.bytes_moved() as f64 / self.median_ms() / 1e6
    }

    /// Returns the peak memory in bytes, and what it counts.
    fn peak(&self) -> (usize, &'static str) {
        match self.peak {
            Some(peak) => (peak, "resident anonymous memory of the process"),
            None => (self.memory.total(), "weights, activations and scratch"),
        }
    }

    fn json(&self) -> Value {
        let (peak_bytes, peak_bytes_of) = self.peak();
        let Memory { weights, activations, scratch } = self.memory;
        let mut object = json!({
            "kind": self.kind,
            "device": self.device,
            "precision": self.precision.name(),
            "batch": self.batch,
            "runs": self.run_ms.len(),
            "median_ms": self.median_ms(),
            "min_ms": self.run_ms[0],
            "first_run_ms": self.first_run_ms,
            "load_ms": self.load_ms,
            "pipelines_ms": self.pipelines_ms,
            "pipelines": self.pipelines,
            "dispatches": self.dispatches,
            "gflop": self.gflop(),
            "gflop_per_s": self.gflop() / self.median_ms() * 1e3,
            "bytes_moved": self.bytes_moved(),
            "gb_per_s": self.gb_per_s(),
            "peak_bytes": peak_bytes,
            "peak_bytes_of": peak_bytes_of,
            "memory": {"weights": weights, "activations": activations, "scratch": scratch},
        });
        if let Some(rounding) = &self.rounding {
            object["rounding"] = rounding.clone();
        }
        if let Some(profile) = &self.profile {
            object["clock"] = profile.clock.into();
            object["kernels"] = profile.kernels_json();
            object["ops"] = profile.ops_json();
        }
        object
    }

    fn print(&self) -> Result<()> {
        let mb = |bytes: usize| format!("{:.1} MB", bytes as f64 / 1e6);
        let line = |what: &str, text: String| print(format_args!("{what:<12} {text}"));
        let Memory { weights, activations, scratch } = self.memory;
        let (peak, of) = self.peak();
        line("device", self.device.clone())?;
        line("batch", self.batch.to_string())?;
        line("precision", self.precision.name().into())?;
        line("load", format!("{:.1} ms, of which {:.1} ms for pipelines", self.load_ms, self.pipelines_ms))?;
        line("first run", format!("{:.2} ms", self.first_run_ms))?;
        let (median, fastest) = (self.median_ms(), self.run_ms[0]);
        line("run", format!("{median:.2} ms, the median of {}; the fastest {fastest:.2} ms", self.run_ms.len()))?;
        line("arithmetic", format!("{:.2} GFLOP, {:.1} GFLOP/s", self.gflop(), self.gflop() / median * 1e3))?;
        let moved = mb(self.bytes_moved() as usize);
        line("moved", format!("{moved}, {:.1} GB/s", self.gb_per_s()))?;
        line("dispatches", format!("{} with {} pipelines", self.dispatches, self.pipelines))?;
        let [weights, activations, scratch] = [weights, activations, scratch].map(mb);
        line("memory", format!("weights {weights}, activations {activations}, scratch {scratch}"))?;
        line("peak", format!("{}: {of}", mb(peak)))?;
        self.profile.iter().try_for_each(Profile::print)
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
