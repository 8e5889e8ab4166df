//! Tests sizes that small cases do not reach: the large tile of convolutions, linear layers with many columns,
//! and groups of samples and blocks of columns on the CPU.

use percept::Precision;
use percept::device::cpu::Cpu;
use percept::device::gpu::dispatch::{Capabilities, dispatches};
use percept::kernels::{Activation, Conv, Dense, Kernel, Load, RowSlice};
use percept_shaders::{Shader, Tile};
use percept_tests::{Case, adapters, as_packed, halves};

use crate::runner::{Runner, assert_agree, cpu_and_first_adapter};

/// The capabilities of a graphics card with wgpu's default limits.
const CARD: Capabilities =
    Capabilities { native_f16: false, max_binding_bytes: 128 << 20, max_buffer_bytes: 256 << 20 };

/// Returns the shader of a kernel's first dispatch on a graphics card.
fn shader_on_a_card(kernel: &Kernel) -> Shader {
    dispatches(kernel, &kernel.parameters().bindings(), &CARD).expect("dispatches").swap_remove(0).shader
}

fn is_tile(shader: &Shader, tile: Tile) -> bool {
    tile.shader().constants == shader.constants
}

fn silu(row_length: usize, offset: usize) -> Load {
    Load::Affine { rows: RowSlice { row_length, offset }, activation: Activation::Silu }
}

/// Returns convolutions that use the large tile: at least 128 tiles of 128 pixels by 128 columns, and an even
/// number of panels. They have one chunk of terms and several, results that do not fill whole tiles, and every
/// way to load and to store.
fn with_the_large_tile() -> Vec<Conv> {
    vec![
        Conv { bias: true, ..Conv::new([1, 128, 128, 16], 128, 1) },
        Conv { bias: true, ..Conv::new([1, 64, 128, 5], 193, 1) },
        Conv {
            in_channels: [12, 8],
            load: silu(44, 4),
            bias: true,
            add: Some(RowSlice { row_length: 208, offset: 4 }),
            stats: Some(64),
            ..Conv::new([1, 63, 129, 12], 200, 1)
        },
        Conv {
            kernel: [1, 3],
            padding: 0,
            load: silu(8, 0),
            residual: Some(2),
            activation: Activation::Relu,
            stats: Some(64),
            ..Conv::new([1, 128, 130, 4], 128, 1)
        },
    ]
}

/// Returns convolutions with one tile too few, and with an odd number of panels.
fn just_below_the_large_tile() -> Vec<Conv> {
    vec![
        Conv { bias: true, ..Conv::new([1, 127, 128, 8], 128, 1) },
        Conv { bias: true, ..Conv::new([1, 64, 128, 8], 192, 1) },
    ]
}

#[test]
fn convolutions_agree_on_both_sides_of_the_large_tile() {
    let devices = cpu_and_first_adapter();
    let of = |cases: Vec<Conv>, tile| cases.into_iter().map(move |p| (Kernel::from(p), tile));
    let cases = of(with_the_large_tile(), Tile::LARGE).chain(of(just_below_the_large_tile(), Tile::MEDIUM));
    for (seed, (kernel, tile)) in (0..).zip(cases) {
        assert!(is_tile(&shader_on_a_card(&kernel), tile), "{kernel:?}");
        assert_agree(&devices.iter().collect::<Vec<_>>(), &Case::random(kernel, seed), Precision::F32);
    }
}

/// Tests half-precision input, in the shaders' own type or packed in words.
#[test]
fn the_large_tile_agrees_in_half_precision() {
    let Some(adapter) = adapters().into_iter().next() else { return };
    let native = Runner::gpu(&adapter);
    let packed = Runner::gpu_as(&adapter, as_packed);
    let mut cases: Vec<Case> = with_the_large_tile().into_iter().map(|p| Case::random(p, 1)).collect();
    for case in &mut cases {
        case.round_to_half(&halves(case));
    }
    // Sources and results with multiples of four channels, and a result without.
    for (case, runner) in cases.iter().zip([&native, &packed, &native, &packed]) {
        runner.assert_agrees(case, Precision::F16);
    }
}

fn dense(rows: usize, in_features: usize, out_features: usize) -> Dense {
    Dense { rows, in_features, out_features, bias: true, residual: true, activation: Activation::Silu }
}

/// Returns linear layers around 8192 columns, each with the number of groups of four columns that a workgroup
/// computes. They have as many rows as a workgroup takes and more, multiples of four terms and other numbers,
/// more terms than the slices of a workgroup take at once, and a last panel that is not full.
fn with_many_columns() -> Vec<(Dense, u32)> {
    vec![
        (dense(2, 36, 8191), 4),
        (dense(1, 36, 8192), 16),
        (dense(3, 33, 8200), 16),
        (dense(9, 40, 8200), 16),
        (dense(5, 3, 8257), 16),
    ]
}

#[test]
fn linear_layers_agree_on_both_sides_of_many_columns() {
    let devices = cpu_and_first_adapter();
    for (seed, (p, columns4)) in (0..).zip(with_many_columns()) {
        assert_eq!(shader_on_a_card(&p.clone().into()).constants["COLUMNS4"], columns4, "{p:?}");
        let mut case = Case::random(p, seed);
        assert_agree(&devices.iter().collect::<Vec<_>>(), &case, Precision::F32);
        case.round_to_half(&halves(&case));
        assert_agree(&devices.iter().collect::<Vec<_>>(), &case, Precision::F16);
    }
}

/// The number of `f32` values of accumulators and loaded sources that the CPU holds at once.
const IN_FLIGHT: usize = 16 << 20;

/// The CPU computes as many samples together as fit: all three; two, and then the third; each alone.
#[test]
fn the_cpu_agrees_on_samples_in_groups() {
    let runner = Runner::cpu();
    // The convolution reads every sixteenth pixel, so that sources are large and sums are few.
    let conv = |channels: usize| Conv { stride: 4, ..Conv::new([3, 256, 256, channels], 16, 1) };
    for (channels, together) in [(84, 3), (127, 2), (128, 1)] {
        let plain = conv(channels);
        let [out_h, out_w] = plain.out_size();
        let of_sample = 256 * 256 * channels + out_h * out_w * 16;
        assert_eq!(IN_FLIGHT / of_sample, together);
        runner.assert_agrees(&Case::random(plain.clone(), 1), Precision::F32);
        // Each sample has its own rows and two sources that are concatenated.
        let fused = Conv {
            in_channels: [channels - 3, 3],
            load: silu(2 * channels + 5, 5),
            bias: true,
            add: Some(RowSlice { row_length: 20, offset: 3 }),
            residual: Some(1),
            ..plain
        };
        runner.assert_agrees(&Case::random(fused, 2), Precision::F32);
    }
}

/// A single thread computes all columns in one task, up to 1024 of them.
#[test]
fn the_cpu_agrees_around_a_block_of_columns() {
    for threads in [1, 5] {
        let runner = Runner::Host(Cpu::new(Some(threads)).expect("threads").into());
        for (seed, columns) in (0..).zip([1023, 1024, 1025, 2047, 2048, 2049]) {
            runner.assert_agrees(&Case::random(dense(3 * 96, 3, columns), seed), Precision::F32);
        }
    }
}
