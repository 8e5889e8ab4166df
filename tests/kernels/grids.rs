//! Tests grids with more workgroups than fit in one dimension. Kernels with one workgroup per item must ignore
//! the surplus workgroups of the grid's last row.

use percept::Precision;
use percept::device::gpu::Gpu;
use percept::device::gpu::dispatch::{Capabilities, dispatches};
use percept::kernels::{
    Activation, Attention, AvgPool, ChannelStats, Conv, Dense, Embedding, GroupAffine, Index, LayerNorm, Load, QkvOrder,
};
use percept_tests::{Case, adapters};

use crate::runner::Runner;
use crate::{embedding, group_affine, layer_norm};

/// The largest number of workgroups in one dimension, on every device.
const MOST: usize = 65_535;

fn tokens(count: usize) -> Case {
    layer_norm::inputs(LayerNorm { batch: 1, tokens: count, first: 0, count, channels: 1, eps: 1e-6 }, 0)
}

fn heads(batch: usize, heads: usize, head_channels: usize) -> Case {
    Case::random(Attention { batch, height: 1, width: 1, heads, head_channels, order: QkvOrder::HeadsFirst }, 0)
}

/// Returns a convolution of one-pixel images with a workgroup for each image. With 256 channels, each image has
/// two workgroups, whose results are added up.
fn images(batch: usize, channels: usize) -> Case {
    Case::random(Conv::new([batch, 1, 1, channels], 1, 1), 0)
}

/// Returns a case with an invocation per element, like all elementwise kernels, and 256 invocations in each
/// workgroup.
fn elements() -> Case {
    embedding::inputs(Embedding { table_rows: 3, channels: MOST + 1, batch: 256, index: Index::PerSample }, 0)
}

/// Returns a case for each kernel that has a workgroup per item, with one or a few workgroups more than fit in
/// one dimension.
fn with_a_workgroup_per_item() -> Vec<Case> {
    let plain = Dense {
        rows: 8 * 257,
        in_features: 1,
        out_features: 16 * 256,
        bias: false,
        residual: false,
        activation: Activation::Identity,
    };
    let norm = GroupAffine {
        batch: 2,
        pixels: 1,
        tile: 1,
        channels: [MOST / 2 + 1, 0],
        groups: MOST / 2 + 1,
        eps: 1e-5,
        film: None,
    };
    let pool = AvgPool { batch: 1, height: 65 * (MOST + 1), width: 1, channels: 1, kernel: [65, 1], load: Load::Plain };
    vec![
        tokens(MOST + 1),
        heads(MOST + 1, 1, 1),
        heads(MOST / 8 + 1, 8, 4),
        images(MOST + 1, 1),
        images(MOST + 1, 256),
        Case::random(plain, 0),
        group_affine::inputs(norm, 0),
        Case::random(pool, 0),
        Case::random(ChannelStats { batch: 1, height: MOST + 1, width: 1, channels: 1, tile: 1 }, 0),
    ]
}

/// Asserts that each case has grids of two dimensions on a GPU, and agrees there.
fn assert_agree_on_large_grids(gpu: Gpu, cases: &[Case]) {
    let capabilities = *gpu.capabilities();
    let runner = Runner::Gpu(gpu);
    for case in cases {
        assert!(grids(case, &capabilities).iter().all(|grid| grid[0] == MOST as u32 && grid[1] > 1), "{}", case.name());
        runner.assert_agrees(case, Precision::F32);
    }
}

/// Returns the grids of the case's dispatches.
fn grids(case: &Case, capabilities: &Capabilities) -> Vec<[u32; 2]> {
    let dispatches = dispatches(&case.kernel, &case.kernel.parameters().bindings(), capabilities).expect("dispatches");
    dispatches.into_iter().map(|dispatch| dispatch.grid).collect()
}

#[test]
fn grids_of_two_dimensions_agree() {
    let Some(adapter) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    assert_eq!(grids(&images(MOST, 1), gpu.capabilities()), [[MOST as u32, 1]]);
    assert_agree_on_large_grids(gpu, &[images(MOST + 1, 1), elements()]);
}

/// Run this after changes to `shared/grid.wgsl` or to the early returns of shaders: `cargo test -- --ignored
/// grids`.
#[test]
#[ignore = "a software adapter takes minutes for so many workgroups"]
fn every_kernel_with_a_workgroup_per_item_agrees_on_grids_of_two_dimensions() {
    let Some(adapter) = adapters().into_iter().next() else { return };
    assert_agree_on_large_grids(Gpu::open(&adapter).expect("a device"), &with_a_workgroup_per_item());
}
