//! Every kernel at the distinct shapes of a model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use percept::Result;
use percept::device::Executor;
use percept::device::gpu::{Gpu, GpuExecutor};
use percept::kernels::{AvgPool, Conv, FilmAffine, GroupAffine, Kernel, Load, RowSlice};
use percept::program::Op;
use percept_benches::{Model, one_op, write_numbers};

use crate::{FEWEST_RUNS, RUNS, median};

/// No further run of an op is begun after this long.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// Ops of one kernel together: those of one shape, or all.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    ms: f64,
    gflop: f64,
    gb: f64,
}

impl Sums {
    /// So many ops of which each takes what this one takes.
    fn times(self, count: usize) -> Self {
        let factor = count as f64;
        Sums { count, ms: self.ms * factor, gflop: self.gflop * factor, gb: self.gb * factor }
    }

    fn add(&mut self, other: Sums) {
        self.count += other.count;
        self.ms += other.ms;
        self.gflop += other.gflop;
        self.gb += other.gb;
    }

    fn columns(&self, all: &Sums) -> String {
        let Sums { count, ms, gflop, gb } = *self;
        let [of_ops, of_time] = [count as f64 / all.count as f64, ms / all.ms].map(|share| 100.0 * share);
        // Where a kernel's time goes into something else than multiply-adds, their rate says nothing.
        let rate = if gflop > 0.0 { format!("{:.1}", gflop / ms * 1e3) } else { "-".into() };
        let (each, bytes) = (ms / count as f64, gb / ms * 1e3);
        format!("{count:>5} {of_ops:>5.1} % {ms:>10.3} {of_time:>5.1} % {each:>10.3} {rate:>9} {bytes:>8.2}")
    }
}

/// Prints a line per distinct shape, the slowest first, and one per kernel.
///
/// # Errors
/// Where the device fails.
pub fn table(gpu: &Gpu, model: &Model, only: Option<&str>) -> Result<()> {
    let ops = model.program.ops();
    // Kernels have no order that a map could use.
    let mut shapes: Vec<(Kernel, &Op, usize)> = Vec::new();
    for op in ops.iter().filter(|op| only.is_none_or(|only| op.kernel.name() == only)) {
        let kernel = anywhere(&op.kernel);
        match shapes.iter_mut().find(|(known, ..)| *known == kernel) {
            Some((_, _, count)) => *count += 1,
            None => shapes.push((kernel, op, 1)),
        }
    }
    let (mut timed, mut clock) = (Vec::new(), "device");
    for (kernel, op, count) in shapes {
        let of_one;
        (of_one, clock) = time(gpu, model, op)?;
        timed.push((kernel, of_one.times(count)));
    }
    timed.sort_by(|(_, a), (_, b)| b.ms.total_cmp(&a.ms));
    let (mut all, mut kernels) = (Sums::default(), BTreeMap::<&str, Sums>::new());
    for (kernel, sums) in &timed {
        all.add(*sums);
        kernels.entry(kernel.name()).or_default().add(*sums);
    }

    println!("kernels one by one, by the {clock}'s clock:");
    println!("kernel           ops   share         ms   share    ms each   GFLOP/s     GB/s  shape");
    for (kernel, sums) in &timed {
        println!("{:<14} {}  {}", kernel.name(), sums.columns(&all), label(kernel));
    }
    for (name, sums) in &kernels {
        println!("{name:<14} {}  all", sums.columns(&all));
    }
    println!("{:<14} {}  all", "all", all.columns(&all));
    Ok(())
}

/// What an op takes alone, in the median, and by whose clock.
fn time(gpu: &Gpu, model: &Model, op: &Op) -> Result<(Sums, &'static str)> {
    let program = Arc::new(one_op(&model.program, op)?);
    let bytes = program.bytes_moved(program.body());
    let mut executor = GpuExecutor::new(gpu, program, &model.weights)?;
    write_numbers(&mut executor)?;
    let body = executor.program().body();
    // The first run is the driver's: it may compile only now.
    executor.run(body.clone())?;
    executor.finish()?;

    let (mut times, mut clock, began) = (Vec::new(), "device", Instant::now());
    while times.len() < RUNS && (times.len() < FEWEST_RUNS || began.elapsed() < LONG_ENOUGH) {
        let start = Instant::now();
        times.push(match executor.time_ops(body.clone())? {
            Some(nanoseconds) => nanoseconds.iter().sum::<u64>() as f64 / 1e6,
            None => {
                clock = "host";
                executor.run(body.clone())?;
                executor.finish()?;
                start.elapsed().as_secs_f64() * 1e3
            }
        });
    }
    let gflop = 2.0 * op.kernel.parameters().multiply_adds() as f64 / 1e9;
    Ok((Sums { count: 1, ms: median(times), gflop, gb: bytes as f64 / 1e9 }, clock))
}

/// The kernel without the places of its slices in their rows: those differ from layer to layer, and cost nothing.
fn anywhere(kernel: &Kernel) -> Kernel {
    let first = |rows: RowSlice| RowSlice { offset: 0, ..rows };
    let load = |load| match load {
        Load::Plain => Load::Plain,
        Load::Affine { rows, activation } => Load::Affine { rows: first(rows), activation },
    };
    match kernel.clone() {
        Kernel::Conv(p) => Conv { load: load(p.load), add: p.add.map(first), ..p }.into(),
        Kernel::AvgPool(p) => AvgPool { load: load(p.load), ..p }.into(),
        Kernel::FilmAffine(p) => FilmAffine { rows: first(p.rows), film: first(p.film), ..p }.into(),
        Kernel::GroupAffine(p) => GroupAffine { film: p.film.map(first), ..p }.into(),
        other => other,
    }
}

/// The shapes of what is read and written first, and what else a convolution does.
fn label(kernel: &Kernel) -> String {
    let bindings = kernel.parameters().bindings();
    let shape = |written| bindings.iter().find(|binding| binding.written == written).map(|binding| binding.shape);
    let mut label = String::new();
    if let (Some(read), Some(written)) = (shape(false), shape(true)) {
        label = format!("{read} -> {written}");
    }
    if let Kernel::Conv(p) = kernel {
        label += &format!(" {}x{}", p.kernel[0], p.kernel[1]);
        for (name, value) in [("stride", p.stride), ("upsampled", p.upsample)] {
            label += &if value > 1 { format!(", {name} {value}") } else { String::new() };
        }
    }
    // What there is in any case says nothing.
    let always = ["weight", "bias", "gamma", "beta", "output"];
    for binding in bindings.iter().skip(1).filter(|binding| !always.contains(&binding.name)) {
        label += &format!(", {}", binding.name);
    }
    label
}
