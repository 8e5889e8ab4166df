//! Times every op of a program.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use percept::Result;
use percept::device::Executor;
use percept::program::Op;
use serde_json::{Value, json};

use crate::terminal::print;

/// The maximum number of rounds for the median of an op.
const ROUNDS: usize = 10;
/// No further round starts after this long.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
/// The number of single ops in the table.
const SLOWEST: usize = 20;

/// The times of a program's ops.
pub struct Profile {
    /// The clock that timed the ops: `device`, or `host`, which requires waiting for each op.
    pub clock: &'static str,
    ops: Vec<Timed>,
}

/// The cost of an op, or of several ops together.
#[derive(Clone, Default)]
struct Timed {
    layer: String,
    kernel: &'static str,
    count: usize,
    ms: f64,
    gflop: f64,
    bytes: u64,
}

/// Runs the body of a program several times and times its ops. The program must have run before.
///
/// # Errors
/// Returns an error if the device fails.
pub fn profile(executor: &mut dyn Executor) -> Result<Profile> {
    let body = executor.program().body();
    let began = Instant::now();
    let (mut rounds, mut has_clock) = (Vec::new(), true);
    while rounds.len() < ROUNDS && (rounds.is_empty() || began.elapsed() < LONG_ENOUGH) {
        let timed = if has_clock { executor.time_ops(body.clone())? } else { None };
        has_clock = timed.is_some();
        rounds.push(match timed {
            Some(nanoseconds) => nanoseconds,
            None => one_by_one(executor)?,
        });
    }
    let program = executor.program();
    let timed = |(place, op): (usize, &Op)| {
        let mut nanoseconds: Vec<u64> = rounds.iter().map(|round| round[place]).collect();
        nanoseconds.sort_unstable();
        let index = body.start + place;
        Timed {
            layer: op.layer.clone(),
            kernel: op.kernel.name(),
            count: 1,
            ms: nanoseconds[nanoseconds.len() / 2] as f64 / 1e6,
            gflop: 2.0 * op.kernel.parameters().multiply_adds() as f64 / 1e9,
            bytes: program.bytes_moved(index..index + 1),
        }
    };
    let ops = program.ops()[body.clone()].iter().enumerate().map(timed).collect();
    Ok(Profile { clock: if has_clock { "device" } else { "host" }, ops })
}

/// Runs the ops of the body and waits for each. Returns their times in nanoseconds.
fn one_by_one(executor: &mut dyn Executor) -> Result<Vec<u64>> {
    let body = executor.program().body();
    let time = |index| {
        let began = Instant::now();
        executor.run(index..index + 1)?;
        executor.finish()?;
        Ok(began.elapsed().as_nanos() as u64)
    };
    body.map(time).collect()
}

impl Timed {
    /// Returns the GFLOP/s, or `None` if there are no multiply-adds or the time was too short for the clock.
    fn gflop_per_s(&self) -> Option<f64> {
        (self.gflop > 0.0 && self.ms > 0.0).then(|| self.gflop / self.ms * 1e3)
    }

    fn gb_per_s(&self) -> Option<f64> {
        (self.ms > 0.0).then(|| self.bytes as f64 / self.ms / 1e6)
    }

    fn json(&self, total_ms: f64) -> Value {
        json!({
            "kernel": self.kernel, "ms": self.ms, "share": share(self.ms, total_ms), "gflop": self.gflop,
            "gflop_per_s": self.gflop_per_s(), "bytes_moved": self.bytes, "gb_per_s": self.gb_per_s(),
        })
    }
}

fn share(ms: f64, total_ms: f64) -> f64 {
    if total_ms > 0.0 { ms / total_ms } else { 0.0 }
}

impl Profile {
    fn total_ms(&self) -> f64 {
        self.ops.iter().map(|op| op.ms).sum()
    }

    /// Sums the ops of each kernel. Returns the slowest kernel first.
    fn kernels(&self) -> Vec<Timed> {
        let mut kernels: BTreeMap<&str, Timed> = BTreeMap::new();
        for op in &self.ops {
            let kernel = kernels.entry(op.kernel).or_insert(Timed { kernel: op.kernel, ..Timed::default() });
            kernel.count += op.count;
            kernel.ms += op.ms;
            kernel.gflop += op.gflop;
            kernel.bytes += op.bytes;
        }
        slowest_first(kernels.into_values().collect())
    }

    pub fn ops_json(&self) -> Value {
        let total_ms = self.total_ms();
        let object = |op: &Timed| {
            let mut object = op.json(total_ms);
            object["layer"] = op.layer.clone().into();
            object
        };
        self.ops.iter().map(object).collect()
    }

    pub fn kernels_json(&self) -> Value {
        let total_ms = self.total_ms();
        let object = |kernel: &Timed| {
            let mut object = kernel.json(total_ms);
            object["ops"] = kernel.count.into();
            object
        };
        self.kernels().iter().map(object).collect()
    }

    /// Prints all kernels and the slowest ops.
    ///
    /// # Errors
    /// Same as [`print`].
    pub fn print(&self) -> Result<()> {
        let total_ms = self.total_ms();
        print(format_args!("\n{} ops one by one, {total_ms:.2} ms by the {}'s clock", self.ops.len(), self.clock))?;
        let heading = format!("{:>10} {:>7} {:>9} {:>8}", "ms", "share", "GFLOP/s", "GB/s");
        let numbers = |timed: &Timed| {
            let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{rate:.1}"));
            let (flops, bytes) = (rate(timed.gflop_per_s()), rate(timed.gb_per_s()));
            format!("{:>10.3} {:>5.1} % {flops:>9} {bytes:>8}", timed.ms, 100.0 * share(timed.ms, total_ms))
        };
        print(format_args!("{:<14} {:>5} {heading}", "kernel", "ops"))?;
        for kernel in self.kernels() {
            print(format_args!("{:<14} {:>5} {}", kernel.kernel, kernel.count, numbers(&kernel)))?;
        }
        print(format_args!("\n{:<20} {heading}  layer", "the slowest ops"))?;
        for op in slowest_first(self.ops.clone()).iter().take(SLOWEST) {
            print(format_args!("{:<20} {}  {}", op.kernel, numbers(op), op.layer))?;
        }
        Ok(())
    }
}

fn slowest_first(mut timed: Vec<Timed>) -> Vec<Timed> {
    timed.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    timed
}
