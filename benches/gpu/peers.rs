//! burn and PyTorch on the same models.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use percept::Result;
use percept::device::Executor;
use percept::device::gpu::{Gpu, GpuExecutor};
use percept_benches::{Model, write_numbers};
use serde_json::Value;

use crate::{RUNS, median_ms};

/// Rounds in which percept and a peer take turns.
const ROUNDS: usize = 3;
const TORCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/torch_cuda.py");

/// Another program that runs the same model and prints lines of JSON with `median_ms` and `backend`.
struct Peer {
    name: &'static str,
    command: Command,
    /// Whether what it times ends with the output on the host.
    reads_back: bool,
}

/// Prints the medians of percept and of each peer, taken in turns; or why a peer is not timed.
///
/// # Errors
/// Where percept's device fails. That a peer does is printed.
pub fn table(gpu: &Gpu, model: &Model) -> Result<()> {
    for peer in [burn(gpu, model), torch(gpu, model)] {
        match peer {
            Ok(peer) => take_turns(gpu, model, peer)?,
            Err(why) => println!("{why}"),
        }
    }
    Ok(())
}

/// burn on the same adapter.
fn burn(gpu: &Gpu, model: &Model) -> std::result::Result<Peer, String> {
    let program = std::env::var_os("PERCEPT_BURN")
        .ok_or("burn: not timed: PERCEPT_BURN names no program made of benches/peers/burn")?;
    let (kind, batch) = match model.name {
        name if name.starts_with("ResNet-50") => ("resnet50", "1"),
        name if name.starts_with("RCDM-32") => ("unet", "8"),
        name => return Err(format!("burn: not timed: its program makes up no weights for {name}")),
    };
    let mut command = Command::new(program);
    command.args([kind, "random", batch, &RUNS.to_string()]);
    if gpu.is_software() {
        command.env("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu");
    }
    Ok(Peer { name: "burn", command, reads_back: true })
}

/// PyTorch on CUDA.
fn torch(gpu: &Gpu, model: &Model) -> std::result::Result<Peer, String> {
    let python =
        std::env::var_os("PERCEPT_PYTHON").ok_or("PyTorch: not timed: PERCEPT_PYTHON names no Python that has it")?;
    let kind = match model.name {
        name if name.starts_with("ResNet-50") => "resnet50",
        name if name.starts_with("RCDM-128") => "rcdm128",
        name => return Err(format!("PyTorch: not timed: its script has no {name}")),
    };
    if gpu.is_software() {
        return Err(format!("PyTorch: not timed: it is for CUDA, and {} is no hardware", gpu.name()));
    }
    let mut command = Command::new(python);
    command.args([TORCH, kind, "--runs", &RUNS.to_string()]);
    Ok(Peer { name: "PyTorch", command, reads_back: false })
}

fn take_turns(gpu: &Gpu, model: &Model, mut peer: Peer) -> Result<()> {
    let mut executor = GpuExecutor::new(gpu, model.program.clone(), &model.weights)?;
    write_numbers(&mut executor)?;
    let outputs: Vec<String> = model.program.outputs().iter().map(|(name, _)| name.clone()).collect();
    let mut run = || {
        executor.run(model.program.body())?;
        if peer.reads_back {
            return outputs.iter().try_for_each(|name| executor.read(name).map(|_| ()));
        }
        executor.finish()
    };
    run()?;
    let mut ours = Vec::new();
    let mut theirs: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        ours.push(median_ms(Duration::from_secs(10), &mut run)?);
        match medians(&mut peer.command) {
            Ok(medians) => medians.into_iter().for_each(|(name, ms)| theirs.entry(name).or_default().push(ms)),
            Err(why) => {
                println!("{}: not timed: {}", peer.name, why.trim_end());
                return Ok(());
            }
        }
    }
    let end = if peer.reads_back { "output on the host" } else { "output on the device" };
    println!("beside {}, medians of {ROUNDS} rounds in ms, {end}:", peer.name);
    let listed = |ms: &[f64]| ms.iter().map(|ms| format!("{ms:>9.2}")).collect::<String>();
    println!("{} percept", listed(&ours));
    theirs.iter().for_each(|(name, ms)| println!("{} {name}", listed(ms)));
    Ok(())
}

/// What a peer prints: its median in milliseconds for each of its backends.
fn medians(command: &mut Command) -> std::result::Result<Vec<(String, f64)>, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let median = |line: &str| {
        let json: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line:?}"))?;
        let ms = json["median_ms"].as_f64().ok_or_else(|| format!("no median_ms in {line:?}"))?;
        let [backend, adapter] = ["backend", "adapter"].map(|key| json[key].as_str().unwrap_or("unknown"));
        Ok((format!("{backend} on {adapter}"), ms))
    };
    String::from_utf8_lossy(&output.stdout).lines().map(median).collect()
}
