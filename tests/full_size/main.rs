//! Tests every distinct op of RCDM-128, ResNet-50, ViT-B/16 and ADM's upsamplers at full size, with one sample
//! each, against its twin.
//!
//! This takes about half an hour on two cores, so no other command runs it. To run all of it:
//!
//! ```text
//! cargo test -p percept-tests --test full_size
//! ```
//!
//! Arguments choose a part: `cpu` or `gpu` devices, and words that an op's line must contain.
//! `list` only prints the lines. `whole` runs ops whole that otherwise run in parts because a software adapter
//! takes minutes for them.
//!
//! ```text
//! cargo test -p percept-tests --test full_size -- cpu RCDM conv
//! ```
//!
//! Inputs and weights are pseudo-random. A twin would take hours for a whole op, so for large ones only some
//! hundred elements or more are compared: at the edges of images and tiles, where dispatches begin, and at
//! random places. Each must be within the bound of `tests/kernels/bounds.rs`, and all samples of an output
//! together within a relative error of 1e-5.
//!
//! The devices are the CPU and the first adapter. On the adapter, convolutions of more than 3.2 billion multiply-adds
//! run in two parts, one
//! with fewer lines and one with fewer channels, by the same shaders (`smaller.rs`).

mod check;
mod inputs;
mod ops;
mod samples;
mod smaller;

// The bounds of the kernels' tests.
#[path = "../kernels/bounds.rs"]
mod bounds;

use std::process::ExitCode;
use std::time::Instant;

use percept::Device;
use percept::device::gpu::Gpu;
use percept::device::gpu::dispatch::Capabilities;
use percept::kernels::{Conv, Kernel, Load};
use percept::{Precision, Result};
use percept_tests::{Case, adapters, run_guarded, run_on};

use bounds::Sums;
use check::{Checked, Expected, check};
use ops::ModelOp;
use smaller::StandIn;

/// The device that ops run on.
enum Runner {
    Cpu(Device),
    /// With poisoned buffers and guard zones.
    Gpu(Gpu),
}

impl Runner {
    fn name(&self) -> &'static str {
        match self {
            Runner::Cpu(_) => "cpu",
            Runner::Gpu(_) => "gpu",
        }
    }

    fn capabilities(&self) -> Option<&Capabilities> {
        match self {
            Runner::Cpu(_) => None,
            Runner::Gpu(gpu) => Some(gpu.capabilities()),
        }
    }

    /// Returns the kernels that run on this device in place of an op.
    fn stand_ins(&self, kernel: &Kernel, most: u64) -> Result<Vec<StandIn>> {
        match self.capabilities() {
            Some(capabilities) => smaller::stand_ins(kernel, capabilities, most),
            None => Ok(vec![StandIn { part: None, kernel: kernel.clone() }]),
        }
    }

    fn run(&self, case: &Case) -> (Result<Vec<Vec<f32>>>, Sums) {
        match self {
            Runner::Cpu(device) => (run_on(device, case), Sums::InBlocks),
            Runner::Gpu(gpu) => (run_guarded(gpu, case, Precision::F32), Sums::InOneChain),
        }
    }
}

/// The parsed command line.
struct Arguments {
    devices: Vec<String>,
    /// In lower case.
    words: Vec<String>,
    list: bool,
    whole: bool,
}

impl Arguments {
    fn parse() -> Self {
        let mut arguments = Arguments { devices: Vec::new(), words: Vec::new(), list: false, whole: false };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "cpu" | "gpu" => arguments.devices.push(argument),
                "list" => arguments.list = true,
                "whole" => arguments.whole = true,
                _ => arguments.words.push(argument.to_lowercase()),
            }
        }
        if arguments.devices.is_empty() {
            arguments.devices = ["cpu", "gpu"].map(String::from).into();
        }
        arguments
    }

    /// Returns the largest number of multiply-adds with which an op runs whole on an adapter.
    fn most(&self) -> u64 {
        if self.whole { u64::MAX } else { smaller::MOST }
    }

    fn wants(&self, line: &str) -> bool {
        let line = line.to_lowercase();
        self.words.iter().all(|word| line.contains(word))
    }

    /// Opens the devices.
    fn open(&self) -> Result<Vec<Runner>> {
        let has = |name: &str| self.devices.iter().any(|device| device == name);
        let mut devices = Vec::new();
        if has("cpu") {
            devices.push(Runner::Cpu(Device::cpu()?));
        }
        let first = if has("gpu") { adapters().into_iter().next() } else { None };
        if let Some(adapter) = first {
            println!("the adapter is {}", adapter.name());
            devices.push(Runner::Gpu(Gpu::open(&adapter)?));
        }
        Ok(devices)
    }
}

/// The result of an op, or of a part of one, on a device.
struct Outcome {
    model: &'static str,
    device: &'static str,
    line: String,
    seconds: f64,
    is_part: bool,
    checked: Checked,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let all = ops::distinct()?;
    let ops: Vec<&ModelOp> = all.iter().filter(|op| arguments.wants(&line(op))).collect();
    println!("{} of {} distinct ops", ops.len(), all.len());
    let devices = arguments.open()?;
    if arguments.list {
        list(&ops, &devices, arguments.most())?;
        return Ok(ExitCode::SUCCESS);
    }
    let began = Instant::now();
    let mut outcomes = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        println!("[{}/{}, {:.0} s] {}", index + 1, ops.len(), began.elapsed().as_secs_f64(), line(op));
        run_op(op, index as u64, &devices, arguments.most(), &mut outcomes)?;
    }
    Ok(if summarize(&outcomes, &devices) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the ops, the parts that run in place of the large ones, and the number of their dispatches if there
/// is more than one.
fn list(ops: &[&ModelOp], devices: &[Runner], most: u64) -> Result<()> {
    let mut of_devices = vec![0.0; devices.len()];
    for op in ops {
        println!("{}", line(op));
        for (runner, of_device) in devices.iter().zip(&mut of_devices) {
            for StandIn { part, kernel } in runner.stand_ins(&op.kernel, most)? {
                *of_device += billions(&kernel);
                let count = runner
                    .capabilities()
                    .map_or(Ok(1), |capabilities| smaller::dispatch_count(&kernel, capabilities))?;
                if part.is_some() || count > 1 {
                    let part = part.unwrap_or("whole".to_string());
                    println!("    {}, {part}: {:.3} G in {count} dispatches", runner.name(), billions(&kernel));
                }
            }
        }
    }
    for (runner, of_device) in devices.iter().zip(of_devices) {
        println!("{}: {of_device:.0} G multiply-adds", runner.name());
    }
    Ok(())
}

/// Returns the number of multiply-adds, in billions.
fn billions(kernel: &Kernel) -> f64 {
    kernel.parameters().multiply_adds() as f64 / 1e9
}

/// Runs an op on every device, and prints and collects the outcomes.
fn run_op(op: &ModelOp, seed: u64, devices: &[Runner], most: u64, outcomes: &mut Vec<Outcome>) -> Result<()> {
    let mut known: Option<(Case, Vec<Expected>)> = None;
    for runner in devices {
        for stand_in in runner.stand_ins(&op.kernel, most)? {
            // Devices that run the same kernel share its inputs and samples.
            let (case, expected) = match known.take() {
                Some((case, expected)) if case.kernel == stand_in.kernel => (case, expected),
                _ => expect(&stand_in.kernel, seed, devices)?,
            };
            let start = Instant::now();
            let (got, sums) = runner.run(&case);
            let seconds = start.elapsed().as_secs_f64();
            let checked = match got {
                Ok(got) => check(&expected, &got, sums),
                Err(error) => Checked { wrong: Some(error.to_string()), ..Checked::default() },
            };
            known = Some((case, expected));
            let part = stand_in.part.as_deref().map_or(String::new(), |part| format!(", {part}"));
            let line = format!("{}{part}", line(op));
            print_outcome(runner.name(), &part, seconds, &checked);
            let is_part = stand_in.part.is_some();
            outcomes.push(Outcome { model: op.model, device: runner.name(), line, seconds, is_part, checked });
        }
    }
    Ok(())
}

/// Returns a kernel's inputs, and samples of them with the twin's outputs.
fn expect(kernel: &Kernel, seed: u64, devices: &[Runner]) -> Result<(Case, Vec<Expected>)> {
    let case = inputs::inputs(kernel, seed)?;
    let begins =
        devices.iter().filter_map(Runner::capabilities).map(|capabilities| smaller::begins(kernel, capabilities));
    let begins: Vec<usize> = begins.collect::<Result<Vec<_>>>()?.concat();
    let expected = samples::samples(&case, &begins).into_iter().map(Expected::of).collect();
    Ok((case, expected))
}

fn print_outcome(device: &str, part: &str, seconds: f64, checked: &Checked) {
    let Checked { elements, relative, of_bound, wrong } = checked;
    println!(
        "    {device}{part}: {relative:.1e} relative, {of_bound:.1e} of the bound, {elements} elements, {seconds:.2} s"
    );
    if let Some(wrong) = wrong {
        println!("    {device}{part}: WRONG: {wrong}");
    }
}

/// Prints the outcome of each model on each device, and the failures. Returns true if there were none.
fn summarize(outcomes: &[Outcome], devices: &[Runner]) -> bool {
    println!("\n== summary");
    for device in devices.iter().map(Runner::name) {
        let mut models: Vec<&str> = outcomes.iter().map(|outcome| outcome.model).collect();
        models.sort_unstable();
        models.dedup();
        for model in models {
            let these = || outcomes.iter().filter(|outcome| (outcome.model, outcome.device) == (model, device));
            let worst = these().max_by(|a, b| a.checked.relative.total_cmp(&b.checked.relative));
            let of_bound = these().map(|outcome| outcome.checked.of_bound).fold(0.0, f64::max);
            let seconds: f64 = these().map(|outcome| outcome.seconds).sum();
            let elements: usize = these().map(|outcome| outcome.checked.elements).sum();
            let (count, parts) = (these().count(), these().filter(|outcome| outcome.is_part).count());
            println!("{device}, {model}: {count} runs, {parts} of parts, {elements} elements, {seconds:.0} s");
            if let Some(worst) = worst {
                println!(
                    "    at most {of_bound:.1e} of the bound, {:.1e} relative: {}",
                    worst.checked.relative, worst.line
                );
            }
        }
    }
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.checked.wrong.is_some()).collect();
    for Outcome { device, line, checked, .. } in &failed {
        println!("WRONG on {device}: {line}\n    {}", checked.wrong.as_deref().unwrap_or_default());
    }
    println!("{} of {} runs are wrong", failed.len(), outcomes.len());
    failed.is_empty() && !outcomes.is_empty()
}

/// Formats an op as a line.
fn line(op: &ModelOp) -> String {
    let kernel = match &op.kernel {
        Kernel::Conv(p) => conv_line(p),
        kernel => format!("{kernel:?}"),
    };
    format!("{} {} (of {}), {:.3} G: {kernel}", op.model, op.layer, op.count, billions(&op.kernel))
}

fn conv_line(p: &Conv) -> String {
    let [first, second] = p.in_channels;
    let channels = if second > 0 { format!("{first}+{second}") } else { first.to_string() };
    let [window_h, window_w] = p.kernel;
    let mut line = format!("Conv {}x{}x{channels}, {window_h}x{window_w} -> {}", p.height, p.width, p.out_channels);
    let fused = [
        ("stride", p.stride > 1),
        ("upsample", p.upsample > 1),
        ("rows", p.load != Load::Plain),
        ("add", p.add.is_some()),
        ("residual", p.residual.is_some()),
        ("enlarged residual", p.residual.is_some_and(|enlarged| enlarged > 1)),
        ("stats", p.stats.is_some()),
    ];
    fused.iter().filter(|(_, is)| *is).for_each(|(name, _)| line = format!("{line}, {name}"));
    line
}
