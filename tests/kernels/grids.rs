//! More workgroups than a grid has in one dimension: kernels that take one per item have to leave out those that the last
//! row of the grid has too many.

use percept::Precision;
use percept::gpu::Gpu;
use percept::gpu::dispatch::{Profile, dispatches};
use percept::kernels::{
    Activation, Attention, AvgPool, ChannelStats, Conv, Dense, Embedding, GroupAffine, Index, LayerNorm, Load, QkvOrder,
};
use percept_tests::{Case, adapters, as_hardware};

use crate::on::On;
use crate::{embedding, group_affine, layer_norm};

/// The most workgroups in one dimension, on every device.
const MOST: usize = 65_535;

fn tokens(count: usize) -> Case {
    layer_norm::inputs(LayerNorm { batch: 1, tokens: count, first: 0, count, channels: 1, eps: 1e-6 }, 0)
}

fn heads(batch: usize, heads: usize, head_channels: usize) -> Case {
    Case::random(Attention { batch, height: 1, width: 1, heads, head_channels, order: QkvOrder::HeadsFirst }, 0)
}

/// A convolution of images of one pixel, each a workgroup; of 256 channels, each two that are added up.
fn images(batch: usize, channels: usize) -> Case {
    Case::random(Conv::new([batch, 1, 1, channels], 1, 1), 0)
}

/// An invocation for an element, as elementwise kernels have it: 256 in each workgroup.
fn elements() -> Case {
    embedding::inputs(Embedding { table_rows: 3, channels: MOST + 1, batch: 256, index: Index::PerSample }, 0)
}

/// One workgroup more than fit, or a few, of each kernel that has one for an item.
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
    let profile = *gpu.profile();
    let on = On::Gpu(gpu);
    for case in cases {
        assert!(grids(case, &profile).iter().all(|grid| grid[0] == MOST as u32 && grid[1] > 1), "{}", case.name());
        on.assert_agrees(case, Precision::F32);
    }
}

/// The grids of the case's dispatches.
fn grids(case: &Case, profile: &Profile) -> Vec<[u32; 2]> {
    let dispatches = dispatches(&case.kernel, &case.kernel.parameters().bindings(), profile).expect("dispatches");
    dispatches.into_iter().map(|dispatch| dispatch.grid).collect()
}

#[test]
fn grids_of_two_dimensions_agree() {
    let Some(adapter) = adapters().into_iter().next() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    assert_eq!(grids(&images(MOST, 1), gpu.profile()), [[MOST as u32, 1]]);
    assert_agree_on_large_grids(gpu, &[images(MOST + 1, 1), elements()]);
}

/// For changes of `shared/grid.wgsl` and of what a shader does before it returns: `cargo test -- --ignored grids`.
#[test]
#[ignore = "a software adapter takes minutes for so many workgroups"]
fn every_kernel_with_a_workgroup_per_item_agrees_on_grids_of_two_dimensions() {
    let Some(adapter) = adapters().into_iter().next() else { return };
    assert_agree_on_large_grids(Gpu::open_as(&adapter, as_hardware).expect("a device"), &with_a_workgroup_per_item());
}
