//! Every device against the twins: on every kernel's table, at the edges of the devices' tiles, and on
//! random shapes.

use percept::Precision;
use percept::gpu::{Adapter, Gpu};
use percept::kernels::{Activation, Attention, Conv, Dense, Kernel, QkvOrder};
use percept::pipeline::Device;
use percept_tests::{Bound, Case, SplitMix, adapters, as_hardware, assert_close, left_out, ran, run_guarded, run_on};

use crate::bounds::{Sums, bounds};
use crate::shapes;

/// What a case is run on.
enum On {
    Cpu(Device),
    /// With poisoned buffers and guard zones.
    Gpu(Gpu),
}

impl On {
    fn cpu() -> On {
        On::Cpu(Device::cpu().expect("a CPU"))
    }

    fn gpu(adapter: &Adapter) -> On {
        On::Gpu(Gpu::open(adapter).expect("a device"))
    }

    fn assert_agrees(&self, case: &Case) {
        let (got, sums) = match self {
            On::Cpu(device) => (run_on(device, case), Sums::InBlocks),
            On::Gpu(gpu) => (run_guarded(gpu, case, Precision::F32), Sums::InOneChain),
        };
        assert_within(case, &got.unwrap_or_else(|error| panic!("{}: {error}", case.name())), sums);
    }
}

fn assert_within(case: &Case, got: &[Vec<f32>], sums: Sums) {
    let want = case.twin_outputs();
    let bounds = bounds(case, sums);
    assert_eq!([got.len(), bounds.len()], [want.len(); 2], "outputs of {}", case.name());
    for ((got, want), bounds) in got.iter().zip(&want).zip(bounds) {
        assert_eq!(got.len(), want.len(), "{}", case.name());
        let worst = bounds.iter().copied().fold(0.0, f64::max);
        if worst == 0.0 {
            // To the bit, which also holds for words that are no floats.
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(got), bits(want), "{}", case.name());
            continue;
        }
        assert_close(&case.name(), got, want, Bound::new(worst, 0.0));
        for (index, ((got, want), bound)) in got.iter().zip(want).zip(bounds).enumerate() {
            let error = (f64::from(*got) - f64::from(*want)).abs();
            assert!(error <= bound, "{}: element {index}: got {got}, want {want}, bound {bound:e}", case.name());
        }
    }
}

fn conv(shape: [usize; 4], out_channels: usize, kernel: usize) -> Conv {
    Conv { bias: true, ..Conv::new(shape, out_channels, kernel) }
}

/// Sizes at, just below and just above the rows (96), terms (128), panels (8 to 32) and blocks (1024
/// columns) of the CPU's tiles.
fn edges() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for rows in [1, 5, 6, 7, 11, 12, 13, 95, 96, 97, 192, 193] {
        kernels.push(
            Dense { rows, in_features: 33, out_features: 17, bias: true, residual: true, activation: Activation::Silu }
                .into(),
        );
    }
    for terms in [1, 127, 128, 129, 255, 256, 257] {
        kernels.push(conv([1, 3, 5, terms], 9, 1).into());
        kernels.push(conv([2, 3, 3, terms], 5, 3).into());
    }
    for columns in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2049] {
        kernels.push(conv([1, 2, 7, 10], columns, 1).into());
    }
    for tokens in [1, 2, 15, 16, 17, 47, 48, 49, 96, 97, 257] {
        for order in [QkvOrder::HeadsFirst, QkvOrder::QkvFirst] {
            kernels.push(Attention { batch: 2, height: tokens, width: 1, heads: 3, head_channels: 9, order }.into());
        }
    }
    kernels.push(
        Attention { batch: 1, height: 4, width: 5, heads: 2, head_channels: 257, order: QkvOrder::HeadsFirst }.into(),
    );
    kernels
}

/// Sizes around those of a GPU's tiles: 32, 64 and 128 pixels and columns, 16 terms.
fn gpu_edges() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for pixels in [31, 32, 33, 63, 64, 65, 127, 128, 129] {
        kernels.push(Conv { stats: Some(64), ..conv([2, 1, pixels, 8], 12, 1) }.into());
        for columns in [31, 32, 33, 63, 64, 65, 127, 128, 129] {
            kernels.push(conv([1, pixels, 1, 5], columns, 1).into());
        }
    }
    for terms in [3, 4, 5, 15, 16, 17, 20, 31, 32, 33] {
        kernels.push(conv([1, 5, 5, terms], 8, 3).into());
    }
    // Few pixels and long sums, which are split.
    kernels.push(Conv { stats: Some(64), ..conv([2, 8, 8, 256], 64, 3) }.into());
    kernels.push(conv([3, 4, 4, 515], 65, 3).into());
    kernels
}

#[test]
fn the_cpu_agrees_on_every_table() {
    let cases = super::every_case();
    assert!(cases.len() > 100);
    cases.iter().for_each(|case| On::cpu().assert_agrees(case));
}

#[test]
fn the_cpu_agrees_at_the_edges_of_its_tiles() {
    for (seed, kernel) in (0..).zip(edges()) {
        On::cpu().assert_agrees(&Case::random(kernel, seed));
    }
}

#[test]
fn the_cpu_agrees_on_random_convolutions() {
    let mut random = SplitMix::new(7);
    for seed in 0..200 {
        On::cpu().assert_agrees(&Case::random(shapes::conv(&mut random), seed));
    }
}

/// Why the others run less than the first adapter.
const SAME_SHADERS: &str = "the shaders are those of the first adapter, and only the driver is another";

/// The first adapter runs everything, the others every eighth case of the tables.
#[test]
fn every_adapter_agrees_on_the_tables() {
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let step = if index == 0 { 1 } else { 8 };
        let all = super::every_case();
        let cases: Vec<&Case> = all.iter().step_by(step).collect();
        cases.iter().for_each(|case| on.assert_agrees(case));
        ran(&adapter.name(), format!("{} of {} cases of the kernels' tables", cases.len(), all.len()));
        if index > 0 {
            left_out(&adapter.name(), format!("{} cases of the tables", all.len() - cases.len()), SAME_SHADERS);
        }
    }
}

#[test]
fn the_first_adapter_agrees_at_the_edges_of_its_tiles() {
    let adapters = adapters();
    let Some((first, others)) = adapters.split_first() else { return };
    let on = On::gpu(first);
    let kernels: Vec<Kernel> = edges().into_iter().chain(gpu_edges()).collect();
    let what = format!("{} kernels at the edges of their tiles", kernels.len());
    for (seed, kernel) in (0..).zip(kernels) {
        on.assert_agrees(&Case::random(kernel, seed));
    }
    ran(&first.name(), &what);
    others.iter().for_each(|adapter| left_out(&adapter.name(), &what, SAME_SHADERS));
}

/// Rounds of random shapes for what a graphics card would take.
const HARDWARE_ROUNDS: u64 = 4;

/// The variants that a card takes, other tiles and workgroups that share a row, on the first adapter: no adapter that plays a
/// GPU would choose them.
#[test]
fn the_first_adapter_agrees_on_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open_as(&first, as_hardware).expect("a device");
    assert!(!gpu.profile().software);
    let on = On::Gpu(gpu);
    let cases = super::every_case();
    cases.iter().for_each(|case| on.assert_agrees(case));
    let kernels: Vec<Kernel> = edges().into_iter().chain(gpu_edges()).collect();
    let edges = kernels.len();
    for (seed, kernel) in (0..).zip(kernels) {
        on.assert_agrees(&Case::random(kernel, seed));
    }
    let mut random = SplitMix::new(13);
    for seed in 0..HARDWARE_ROUNDS {
        shapes::of_every_kernel(&mut random, seed).iter().for_each(|case| on.assert_agrees(case));
    }
    let what = format!("{} cases, {edges} edges of tiles and {HARDWARE_ROUNDS} random shapes", cases.len());
    ran(&first.name(), format!("the variants of hardware: {what}"));
}

/// Random shapes of every kernel on the first adapter.
const ROUNDS: u64 = 50;

#[test]
fn every_adapter_agrees_on_random_shapes() {
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let mut random = SplitMix::new(11);
        let rounds = if index == 0 { ROUNDS } else { 4 };
        for seed in 0..rounds {
            shapes::of_every_kernel(&mut random, seed).iter().for_each(|case| on.assert_agrees(case));
        }
        ran(&adapter.name(), format!("{rounds} random shapes of every kernel"));
        if index > 0 {
            left_out(&adapter.name(), format!("{} random shapes of every kernel", ROUNDS - rounds), SAME_SHADERS);
        }
    }
}
