//! What the first use of a model costs, without and with what an earlier one left on disk.
//!
//! Each start is a process of its own, whose caches, percept's and the driver's, are in a folder that is empty at the
//! first one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use percept::device::Executor;
use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept::weights::WeightSource;
use percept::{Error, Result, Shape};
use percept_benches::{Model, models, write_numbers};
use serde_json::{Value, json};

/// Names the model that a process is to start with.
const MODEL: &str = "PERCEPT_BENCH_START";
/// Where caches are: percept's, Mesa's and others', NVIDIA's.
const CACHES: [&str; 3] = ["PERCEPT_CACHE", "XDG_CACHE_HOME", "__GL_SHADER_DISK_CACHE_PATH"];

/// The model that this process is to start with, if it is one of [`table`]'s.
pub fn asked_for() -> Option<String> {
    std::env::var(MODEL).ok()
}

/// Prints what the first and the second start take. Where that cannot be found out it says why.
pub fn table(adapter: &Adapter, model: &Model) {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return println!("starts: not timed: no folder for caches: {error}"),
    };
    for start in ["cold", "warm"] {
        match child(adapter, model, folder.path()) {
            Ok(took) => println!(
                "{start} start: {} pipelines in {:.1} ms, weights in {:.1} ms, first run {:.1} ms",
                took["pipelines"],
                took["pipelines_ms"].as_f64().unwrap_or(f64::NAN),
                took["weights_ms"].as_f64().unwrap_or(f64::NAN),
                took["first_run_ms"].as_f64().unwrap_or(f64::NAN),
            ),
            Err(error) => println!("{start} start: not timed: {error}"),
        }
    }
}

/// What a start in a process of its own takes.
fn child(adapter: &Adapter, model: &Model, caches: &Path) -> std::result::Result<Value, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.env(MODEL, model.name).env("PERCEPT_DEVICE", adapter.name()).envs(CACHES.map(|name| (name, caches)));
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Starts with a model and prints what that took, as JSON.
///
/// # Errors
/// Where there is no such model, or the device fails.
pub fn measure(adapter: &Adapter, name: &str) -> Result<()> {
    let all = models()?;
    let model = all.iter().find(|model| model.name == name);
    let model = model.ok_or_else(|| Error::config(MODEL, "the name of a model", name))?;
    let weights = InMemory::of(&model.weights)?;
    let gpu = Gpu::open(adapter)?;

    let pipelines_ms = milliseconds(|| gpu.prepare(&model.program))?.0;
    let (weights_ms, mut executor) = milliseconds(|| GpuExecutor::new(&gpu, model.program.clone(), &weights))?;
    write_numbers(&mut executor)?;
    let first_run = || {
        executor.run(model.program.body())?;
        executor.finish()
    };
    let first_run_ms = milliseconds(first_run)?.0;
    let pipelines = gpu.pipeline_count();
    println!(
        "{}",
        json!({
            "pipelines": pipelines, "pipelines_ms": pipelines_ms, "weights_ms": weights_ms,
            "first_run_ms": first_run_ms,
        })
    );
    Ok(())
}

fn milliseconds<T>(call: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let result = call()?;
    Ok((start.elapsed().as_secs_f64() * 1e3, result))
}

/// Weights that lie in memory, as a model file's in the system's cache do: making them up takes longer than loading.
struct InMemory {
    tensors: BTreeMap<String, (Shape, Vec<f32>)>,
}

impl InMemory {
    fn of(source: &dyn WeightSource) -> Result<Self> {
        let tensor = |name: String| {
            let values = source.tensor(&name)?;
            Ok((name.clone(), (source.shape(&name).unwrap_or(Shape::from([values.len()])), values)))
        };
        Ok(InMemory { tensors: source.tensors().into_iter().map(tensor).collect::<Result<_>>()? })
    }
}

impl WeightSource for InMemory {
    fn name(&self) -> &str {
        "weights in memory"
    }

    fn tensors(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        Some(self.tensors.get(tensor)?.0)
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        let found = self.tensors.get(tensor).filter(|(_, values)| values.len() == out.len());
        let (_, values) = found.ok_or_else(|| Error::file(self.name(), tensor, "none of that name and size"))?;
        out.copy_from_slice(values);
        Ok(())
    }
}
