//! Time and memory of one forward pass of the models that research uses, in both precisions, beside PyTorch where it is at
//! hand: each in a process of its own, one after the other.
//!
//! `cargo bench -p percept-benches --bench models [-- MODEL [BATCH...]]`; PERCEPT_DEVICE names the device, and
//! `PERCEPT_PYTHON` a Python that has PyTorch, torchvision and safetensors.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use percept::Device;
use percept::check::Gauge;
use percept::{Error, Precision, Result};
use percept_benches::{FAMILY, Flags, machine, model_of, write_numbers};
use serde_json::{Value, json};

/// Runs over which medians are taken, after a first; fewer of what takes longer than this together. A first run that takes
/// so long is the one that counts: what it does once is little of it.
const RUNS: usize = 5;
const LONG_ENOUGH: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [case, model, batch, precision] = arguments.as_slice()
        && case == "case"
    {
        return measure(model, batch, precision);
    }
    let (only, batches) = match arguments.split_first() {
        Some((only, batches)) => (Some(only.as_str()), batches.to_vec()),
        None => (None, Vec::new()),
    };
    let batches = if batches.is_empty() { vec!["1".to_string(), "4".to_string()] } else { batches };
    println!("machine: {}; device: {}", machine(), device()?.description());
    println!(
        "{:20} {:>5}  {:24} {:>10} {:>9} {:>10} {:>9}",
        "model", "batch", "", "ms", "peak MB", "weights", "activ."
    );
    for flags in FAMILY.iter().filter(|flags| only.is_none_or(|only| flags.name.contains(only))) {
        for batch in &batches {
            for precision in ["f32", "f16"] {
                row(flags, batch, &format!("percept {precision}"), ours(flags, batch, precision));
            }
            row(flags, batch, "PyTorch f32", peer(flags, batch));
        }
    }
    Ok(())
}

fn device() -> Result<Device> {
    Device::named(&std::env::var("PERCEPT_DEVICE").unwrap_or("cpu".into()))
}

/// One case, in this process: prints what it took, as JSON.
fn measure(name: &str, batch: &str, precision: &str) -> Result<()> {
    let flags = FAMILY.iter().find(|flags| flags.name == name);
    let flags = flags.ok_or_else(|| Error::config("model", "one of the family", name))?;
    let batch: usize = batch.parse().map_err(|error| Error::config("batch", "a number", error))?;
    let precision = if precision == "f16" { Precision::F16 } else { Precision::F32 };
    let device = device()?.with_precision(precision);
    let model = model_of(flags, batch)?;
    let gauge = Gauge::start();
    let mut executor = device.load(model.program.clone(), &model.weights)?;
    write_numbers(executor.as_mut())?;
    let mut run = || -> Result<f64> {
        let began = Instant::now();
        executor.run(model.program.body())?;
        executor.finish()?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    let first = run()?;
    let mut times = Vec::new();
    let is_long = |ms: f64| Duration::from_secs_f64(ms / 1e3) >= LONG_ENOUGH;
    while times.len() < RUNS && !is_long(first + times.iter().sum::<f64>()) {
        times.push(run()?);
    }
    if times.is_empty() {
        times.push(first);
    }
    times.sort_by(f64::total_cmp);
    let memory = executor.memory();
    println!(
        "{}",
        json!({
            "median_ms": times[times.len() / 2], "peak_bytes": gauge.peak(),
            "weights": memory.weights, "activations": memory.activations,
        })
    );
    Ok(())
}

fn ours(flags: &Flags, batch: &str, precision: &str) -> std::result::Result<Value, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    printed(Command::new(this).args(["case", flags.name, batch, precision]))
}

/// PyTorch on the same model, on as many threads.
fn peer(flags: &Flags, batch: &str) -> std::result::Result<Value, String> {
    let python =
        std::env::var("PERCEPT_PYTHON").map_err(|_| "PERCEPT_PYTHON names no Python that has it".to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/forward.py");
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let options = ["--batch", batch, "--threads", &threads, "--runs", "1"];
    printed(Command::new(python).arg(script).args([flags.kind, flags.config]).args(options))
}

/// The JSON that a command prints.
fn printed(command: &mut Command) -> std::result::Result<Value, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed").to_string());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn row(flags: &Flags, batch: &str, what: &str, result: std::result::Result<Value, String>) {
    let result = match result {
        Ok(result) => result,
        Err(error) => return println!("{:20} {batch:>5}  {what:24} not measured: {error}", flags.name),
    };
    let mb = |key: &str| result[key].as_f64().map_or(String::new(), |bytes| format!("{:.0}", bytes / 1e6));
    println!(
        "{:20} {batch:>5}  {what:24} {:>10.1} {:>9} {:>10} {:>9}",
        flags.name,
        result["median_ms"].as_f64().unwrap_or(f64::NAN),
        mb("peak_bytes"),
        mb("weights"),
        mb("activations"),
    );
}
