//! Time and memory of a conversion to f16, beside PyTorch where it is at hand.
//!
//! `PERCEPT_CHECKPOINT=rcdm.pt cargo bench -p percept-benches --bench convert`; with `PERCEPT_PYTHON` naming a Python that has
//! PyTorch and safetensors, they do the same in the same run, taking turns. A checkpoint of RCDM-128 with made-up weights is
//! written by `tests/weights/layouts/make_layouts.py --full`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use percept::check::Gauge;
use percept::{Error, Result};
use percept_benches::machine;
use percept_weights::Checkpoint;
use percept_weights::convert::{Options, Source, paths, plan, write};
use percept_weights::report::refuse_not_finite;
use percept_weights::rounding::Float;

/// Rounds over which medians are taken.
const ROUNDS: usize = 3;

/// Seconds, and the most anonymous memory in bytes.
type Cost = (f64, usize);

fn main() -> Result<()> {
    println!("machine: {}", machine());
    let Some(checkpoint) = std::env::var_os("PERCEPT_CHECKPOINT").map(PathBuf::from) else {
        println!("nothing to convert: PERCEPT_CHECKPOINT names no file");
        return Ok(());
    };
    let bytes = std::fs::metadata(&checkpoint).map_or(0, |metadata| metadata.len());
    println!("{}, {:.2} GB, to f16; medians of {ROUNDS} rounds", checkpoint.display(), bytes as f64 / 1e9);
    let folder = tempfile::tempdir().map_err(|error| Error::file("a temporary folder", "one to write to", error))?;
    let out = folder.path().join("out.safetensors");

    let contestants: [(&str, &dyn Fn() -> Option<Cost>); 4] = [
        ("percept-weights, hashing source and tensors", &|| percept(&checkpoint, &out).ok()),
        ("PyTorch, mmap, hashing source and tensors", &|| peer(&checkpoint, &out, &["--mmap", "--hash"])),
        ("PyTorch, mmap", &|| peer(&checkpoint, &out, &["--mmap"])),
        ("PyTorch", &|| peer(&checkpoint, &out, &[])),
    ];
    let mut costs: [Vec<Cost>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, run), costs) in contestants.iter().zip(&mut costs) {
            costs.extend(run());
        }
    }
    println!("{:45} {:>9} {:>9}", "", "s", "peak MB");
    for ((name, _), mut costs) in contestants.into_iter().zip(costs) {
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        match costs.get(costs.len() / 2) {
            Some((seconds, peak)) => println!("{name:45} {seconds:>9.2} {:>9.0}", *peak as f64 / 1e6),
            None => println!("{name:45} not run: PERCEPT_PYTHON names no Python that has it, or it failed"),
        }
    }
    Ok(())
}

fn percept(checkpoint: &Path, out: &Path) -> Result<Cost> {
    let gauge = Gauge::start();
    let start = Instant::now();
    let options = Options { dtype: Some(Float::F16), ..Options::default() };
    let (conversions, _) = plan(&Checkpoint::open(checkpoint)?, &options)?;
    let pairs: Vec<_> = conversions.iter().zip(paths(&conversions, out)).collect();
    let source = Source::new(&[checkpoint.to_path_buf()], &conversions);
    std::thread::scope(|scope| {
        scope.spawn(|| source.hashes());
        write(&pairs, &source, None, &|_| (), &refuse_not_finite)
    })?;
    Ok((start.elapsed().as_secs_f64(), gauge.peak().unwrap_or(0)))
}

fn peer(checkpoint: &Path, out: &Path, flags: &[&str]) -> Option<Cost> {
    let python = std::env::var_os("PERCEPT_PYTHON")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/convert_rcdm.py");
    let output = Command::new(python).arg(script).arg(checkpoint).arg(out).args(flags).output().ok()?;
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some((result["seconds"].as_f64()?, result["peak_anonymous_bytes"].as_u64()? as usize))
}
