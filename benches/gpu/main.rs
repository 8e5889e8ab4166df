//! The GPU path: every kernel at the shapes of whole models, what models cost, and what their first use does;
//! beside burn and PyTorch where they are at hand.
//!
//! `cargo bench -p percept-benches --bench gpu [-- MODEL [KERNEL]]`, on the device of `PERCEPT_DEVICE`, or the first
//! adapter. MODEL is a part of a model's name, KERNEL a kernel's name: then nothing but its shapes is timed. Peers:
//!
//! - `PERCEPT_BURN` is the program that `benches/peers/burn` makes.
//! - `PERCEPT_PYTHON` is a Python with PyTorch, which is timed where it finds CUDA.

mod kernels;
mod peers;
mod start;

use std::time::{Duration, Instant};

use percept::Result;
use percept::device::Executor;
use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept_benches::{Model, machine, models, write_numbers};

/// Runs over which medians are taken, at most.
const RUNS: usize = 20;
/// And at least, however long they take.
const FEWEST_RUNS: usize = 3;

fn main() -> Result<()> {
    let adapter = match std::env::var("PERCEPT_DEVICE") {
        Ok(name) => Adapter::named(&name)?,
        Err(_) => Adapter::named("gpu")?,
    };
    if let Some(model) = start::asked_for() {
        return start::measure(&adapter, &model);
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let [model, kernel] = [0, 1].map(|place| arguments.get(place).map(String::as_str));

    let gpu = Gpu::open(&adapter)?;
    println!("machine: {}; device: {}: {}", machine(), gpu.name(), gpu.description());
    for model in models()?.iter().filter(|it| model.is_none_or(|part| it.name.contains(part))) {
        println!("\n{}", model.name);
        kernels::table(&gpu, model, kernel)?;
        if kernel.is_none() {
            start::table(&adapter, model);
            whole(&gpu, model)?;
            peers::table(&gpu, model)?;
        }
    }
    Ok(())
}

/// The model's forward pass.
fn whole(gpu: &Gpu, model: &Model) -> Result<()> {
    let mut executor = GpuExecutor::new(gpu, model.program.clone(), &model.weights)?;
    write_numbers(&mut executor)?;
    let body = model.program.body();
    let before = executor.submits();
    executor.run(body.clone())?;
    executor.finish()?;
    let submits = executor.submits() - before;
    let ms = median_ms(Duration::from_secs(20), &mut || {
        executor.run(body.clone())?;
        executor.finish()
    })?;
    let bytes = model.program.bytes_moved(body.clone());
    println!(
        "a run: {} ops, {} dispatches, {submits} submit{}, {:.1} MB moved, {ms:.2} ms, {:.1} GFLOP/s, {:.1} GB/s",
        body.len(),
        executor.dispatches(body),
        if submits == 1 { "" } else { "s" },
        bytes as f64 / 1e6,
        2.0 * model.program.multiply_adds() as f64 / ms / 1e6,
        bytes as f64 / ms / 1e6,
    );
    let memory = executor.memory();
    let [weights, activations, scratch] =
        [memory.weights, memory.activations, memory.scratch].map(|bytes| bytes as f64 / 1e6);
    println!("memory: weights {weights:.1} MB, activations {activations:.1} MB, scratch {scratch:.1} MB");
    Ok(())
}

/// The median of the milliseconds of several calls, fewer where they take longer than `enough` together.
fn median_ms(enough: Duration, call: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < RUNS && (times.len() < FEWEST_RUNS || began.elapsed() < enough) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

/// The median of one or more numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
