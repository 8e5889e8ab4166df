//! The CPU path's convolutions and dense layers beside `gemm`, over the products of whole models.
//!
//! `gemm` is given the product alone, its operands already in memory; percept gathers windows, applies
//! what is fused into loads and stores, and is counted with all of that.
//!
//! `cargo bench -p percept-benches --bench convolutions [-- MODEL]`

use std::collections::BTreeMap;
use std::sync::Arc;

use gemm::Parallelism;
use percept::Device;
use percept::Result;
use percept::kernels::Kernel;
use percept::program::Op;
use percept_benches::{machine, medians, models, one_op, write_numbers};

/// Rounds over which medians are taken.
const RUNS: usize = 5;

fn main() -> Result<()> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let device = Device::cpu()?;
    println!("machine: {}; device: {}", machine(), device.description());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for model in models()?.into_iter().filter(|model| only.as_deref().is_none_or(|only| model.name.contains(only))) {
        println!("\n{}\n{:>28} {:>6} {:>9} {:>9} {:>6}", model.name, "M x N x K", "times", "percept", "gemm", "ratio");
        let mut products: BTreeMap<(usize, usize, usize), (Op, usize)> = BTreeMap::new();
        for op in model.program.ops() {
            if let Some(size) = product(&op.kernel) {
                products.entry(size).or_insert_with(|| (op.clone(), 0)).1 += 1;
            }
        }
        let (mut ours, mut theirs, mut flops) = (0.0, 0.0, 0.0);
        for ((m, n, k), (op, times)) in products {
            let mut executor = device.load(Arc::new(one_op(&model.program, &op)?), &model.weights)?;
            write_numbers(executor.as_mut())?;
            let body = executor.program().body();
            let mut operands = Operands::new(m, n, k);
            let [percept, gemm] =
                medians(RUNS, [&mut || executor.run(body.clone()).expect("a run"), &mut || operands.multiply(threads)]);
            let work = 2.0 * (m * n * k) as f64;
            let rate = |seconds: f64| work / seconds / 1e9;
            let size = format!("{m} x {n} x {k}");
            println!("{size:>28} {times:>6} {:>9.1} {:>9.1} {:>6.2}", rate(percept), rate(gemm), gemm / percept);
            ours += percept * times as f64;
            theirs += gemm * times as f64;
            flops += work * times as f64;
        }
        let rate = |seconds: f64| flops / seconds / 1e9;
        println!(
            "{:>28} {:>6} {:>9.1} {:>9.1} {:>6.2}",
            "all, in GFLOP/s",
            "",
            rate(ours),
            rate(theirs),
            theirs / ours
        );
    }
    Ok(())
}

/// Rows, columns and depth of an op's matrix product.
fn product(kernel: &Kernel) -> Option<(usize, usize, usize)> {
    match kernel {
        Kernel::Conv(p) => Some((p.batch * p.out_size().iter().product::<usize>(), p.out_channels, p.depth())),
        Kernel::Dense(p) => Some((p.rows, p.out_features, p.in_features)),
        _ => None,
    }
}

/// Numbers in [-0.5, 0.5), so that no product of them is denormal or infinite.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1000) as f32 / 1000.0 - 0.5).collect()
}

/// What `gemm` multiplies.
struct Operands {
    size: (usize, usize, usize),
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Operands {
    fn new(m: usize, n: usize, k: usize) -> Self {
        Operands { size: (m, n, k), a: numbers(m * k), b: numbers(k * n), c: vec![0.0; m * n] }
    }

    fn multiply(&mut self, threads: usize) {
        let (m, n, k) = self.size;
        let [n_stride, k_stride] = [n as isize, k as isize];
        let (a, b, c) = (self.a.as_ptr(), self.b.as_ptr(), self.c.as_mut_ptr());
        // SAFETY: all three are row-major and as long as the sizes say; only c is written.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c,
                1,
                n_stride,
                false,
                a,
                1,
                k_stride,
                b,
                1,
                n_stride,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::Rayon(threads),
            );
        }
    }
}
