//! Time and memory of one forward pass of whole models on the CPU path, beside PyTorch where it is at hand.
//!
//! `cargo bench -p percept-benches --bench models [-- MODEL]`; with `PERCEPT_PYTHON` naming a Python that
//! has PyTorch, RCDM-128 is timed there too, in the same run.

use std::process::Command;

use percept::Result;
use percept::check::Gauge;
use percept::pipeline::Device;
use percept_benches::{Model, machine, medians, models, write_numbers};

/// Rounds over which medians are taken.
const RUNS: usize = 5;

fn main() -> Result<()> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let device = Device::cpu()?;
    println!("machine: {}; device: {}", machine(), device.description());
    println!(
        "{:>26} {:>9} {:>9} {:>11} {:>11} {:>9} {:>9} {:>7}",
        "model", "ms", "GFLOP/s", "weights MB", "activ. MB", "scratch", "peak MB", "peak/w"
    );
    for model in models()?.iter().filter(|model| only.as_deref().is_none_or(|only| model.name.contains(only))) {
        time(model, &device)?;
        if model.name.starts_with("RCDM-128") {
            peer();
        }
    }
    Ok(())
}

fn time(model: &Model, device: &Device) -> Result<()> {
    let gauge = Gauge::start();
    let mut executor = device.load(model.program.clone(), &model.weights)?;
    write_numbers(executor.as_mut())?;
    let [seconds] = medians(RUNS, [&mut || executor.run(model.program.body()).expect("a run")]);
    let (memory, peak) = (executor.memory(), gauge.peak());
    let mb = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "{:>26} {:>9.1} {:>9.1} {:>11.1} {:>11.1} {:>9.1} {:>9} {:>7}",
        model.name,
        seconds * 1e3,
        2.0 * model.program.multiply_adds() as f64 / seconds / 1e9,
        mb(memory.weights),
        mb(memory.activations),
        mb(memory.scratch),
        peak.map_or("unknown".into(), |peak| format!("{:.1}", mb(peak))),
        peak.map_or(String::new(), |peak| format!("{:.2}", peak as f64 / memory.weights as f64)),
    );
    Ok(())
}

/// PyTorch on the same model, on as many threads; what it prints.
fn peer() {
    let Ok(python) = std::env::var("PERCEPT_PYTHON") else {
        println!("{:>26} not timed: PERCEPT_PYTHON names no Python that has it", "PyTorch");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/rcdm128.py");
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    for layout in [&[][..], &["--channels-last"]] {
        let steps = RUNS.to_string();
        let arguments = ["--random", "--threads", &threads, "--steps", &steps];
        let result = Command::new(&python).arg(script).args(arguments).args(layout).output();
        match result {
            Ok(output) if output.status.success() => {
                println!("{:>26} {}", "PyTorch", String::from_utf8_lossy(&output.stdout).trim());
            }
            Ok(output) => println!("{:>26} failed: {}", "PyTorch", String::from_utf8_lossy(&output.stderr)),
            Err(error) => println!("{:>26} failed: {error}", "PyTorch"),
        }
    }
}
