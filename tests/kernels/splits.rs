//! Kernels whose buffers exceed a binding, with the variants of a graphics card: sums split into parts for a few samples at
//! a time, and parts of batches that begin where a binding may, in both precisions.

use percept::Precision;
use percept::gpu::Gpu;
use percept::gpu::dispatch::{Dispatch, PARTIALS, Profile, Region, dispatches};
use percept::kernels::{
    Activation, Attention, AvgPool, Binding, ChannelStats, Concat, Conv, DdimStep, DdpmStep, Embedding, FilmAffine,
    GroupAffine, Index, Kernel, LayerNorm, Load, MaxPool, Prediction, QkvOrder, ResizeBilinear, RowSlice, ToRgba8,
    Tokens,
};
use percept_tests::{Case, adapters, as_hardware, bindings, halves};

use crate::on::On;
use crate::{ddim_step, ddpm_step, embedding, group_affine, to_rgba8};

/// Bytes between two places where a binding may begin, on every device.
const ALIGNMENT: usize = 256;

/// A case, the bytes of a binding, and how many dispatches that comes to in single and in half precision.
struct Split {
    case: Case,
    limit: usize,
    dispatches: [(Precision, usize); 2],
}

fn split(case: Case, limit: usize, [single, half]: [usize; 2]) -> Split {
    Split { case, limit, dispatches: [(Precision::F32, single), (Precision::F16, half)] }
}

fn random(kernel: impl Into<Kernel>, limit: usize, dispatches: [usize; 2]) -> Split {
    split(Case::random(kernel, limit as u64), limit, dispatches)
}

fn silu(row_length: usize, offset: usize) -> Load {
    Load::Affine { rows: RowSlice { row_length, offset }, activation: Activation::Silu }
}

/// Asserts that each dispatch binds parts that are not too large, and begin where they may.
fn assert_bound(name: &str, dispatches: &[Dispatch], bindings: &[Binding], limit: usize) {
    for bound in dispatches.iter().flat_map(|dispatch| &dispatch.buffers) {
        let binding = bindings.iter().find(|binding| binding.name == bound.of);
        assert!(binding.is_some() || bound.of == PARTIALS, "{name}: {bound:?}");
        let bytes = binding.map_or(4, |binding| binding.dtype.bytes());
        match bound.region {
            Region::Elements { first, count } => {
                assert!(first * bytes % ALIGNMENT == 0 && count * bytes <= limit, "{name}: {bound:?}");
            }
            Region::Whole => assert!(binding.is_some_and(|binding| binding.bytes() <= limit), "{name}: {bound:?}"),
            Region::Part(_) => {}
        }
    }
}

/// Asserts that what is split agrees with the twins, and is split as often as said.
fn assert_splits_agree(splits: Vec<Split>) {
    let Some(adapter) = adapters().into_iter().next() else { return };
    for Split { mut case, limit, dispatches: counts } in splits {
        let small = |own| Profile { max_binding_bytes: limit, ..as_hardware(own) };
        let gpu = Gpu::open_as(&adapter, small).expect("a device");
        let profile = *gpu.profile();
        let on = On::Gpu(gpu);
        for (precision, count) in counts {
            let bindings = bindings(&case, precision);
            let dispatches = dispatches(&case.kernel, &bindings, &profile).expect("dispatches");
            assert_bound(&case.name(), &dispatches, &bindings, limit);
            assert_eq!(dispatches.len(), count, "{} in {}", case.name(), precision.name());
            if precision == Precision::F16 {
                case.round_to_half(&halves(&case));
            }
            on.assert_agrees(&case, precision);
        }
    }
}

/// Sums in four parts of 144 terms. A binding holds those of 4 samples of 64 columns, and of 2 of 100.
fn with_split_sums() -> Vec<Split> {
    let conv = |columns| Conv::new([6, 8, 8, 64], columns, 3);
    let fused = Conv {
        load: silu(136, 4),
        bias: true,
        add: Some(RowSlice { row_length: 72, offset: 8 }),
        residual: Some(2),
        stats: Some(64),
        ..conv(64)
    };
    vec![
        // A product and a reduction for samples 0 to 3, and for 4 and 5.
        random(fused, 256 << 10, [4, 4]),
        // Three times; in single precision the weight has two parts, and each pair of samples two products.
        random(conv(100), 256 << 10, [9, 6]),
        // All at once.
        random(conv(64), 384 << 10, [2, 2]),
    ]
}

/// Of 256 terms, which are two parts where those of a sample fit a binding.
fn with_sums_split_as_they_fit() -> Vec<Split> {
    let conv = |batch, columns| Conv { padding: 1, bias: true, ..Conv::new([batch, 17, 17, 16], columns, 4) };
    vec![
        random(conv(1, 32), 64 << 10, [2, 2]),
        random(conv(2, 32), 64 << 10, [4, 4]),
        // 256 pixels and 36 columns, twice, are more.
        random(conv(1, 36), 64 << 10, [1, 1]),
        random(conv(1, 36), 72 << 10, [2, 2]),
    ]
}

#[test]
fn split_sums_agree() {
    assert_splits_agree(with_split_sums());
    assert_splits_agree(with_sums_split_as_they_fit());
}

/// Images of which two lines of the result fit a binding, and whose sums are split: 12 strips of each of two samples.
#[test]
fn split_sums_of_strips_agree() {
    let strips = Conv { stride: 4, padding: 0, bias: true, load: silu(32, 0), ..Conv::new([2, 96, 96, 16], 8, 4) };
    assert_splits_agree(vec![random(strips, 64 << 10, [48, 24])]);
}

/// Batches of samples that are no multiple of 256 bytes. A part has as many as fit, and as let the next one begin where
/// it may: in half precision twice as many.
fn batches() -> Vec<Split> {
    let pool = AvgPool { batch: 70, height: 4, width: 6, channels: 4, kernel: [2, 2], load: silu(20, 8) };
    let order = QkvOrder::HeadsFirst;
    let fused = Conv {
        load: silu(12, 4),
        bias: true,
        add: Some(RowSlice { row_length: 8, offset: 4 }),
        residual: Some(1),
        stats: Some(4),
        ..Conv::new([100, 3, 3, 4], 4, 3)
    };
    vec![
        random(Concat { batch: 70, height: 3, width: 5, channels: [12, 8] }, 30_000, [5, 3]),
        random(Attention { batch: 70, height: 1, width: 3, heads: 1, head_channels: 4, order }, 4000, [5, 3]),
        random(pool, 8000, [5, 3]),
        random(ChannelStats { batch: 70, height: 3, width: 3, channels: 4, tile: 4 }, 4000, [5, 3]),
        random(LayerNorm { batch: 70, tokens: 3, first: 1, count: 2, channels: 4, eps: 1e-6 }, 1000, [5, 3]),
        random(
            MaxPool { batch: 70, height: 3, width: 3, channels: 4, kernel: [3, 3], stride: 2, padding: 1 },
            4000,
            [5, 3],
        ),
        random(Tokens { batch: 70, height: 1, width: 3, channels: 4, prefix: 2, own_prefix: true }, 2000, [5, 3]),
        random(Tokens { batch: 70, height: 1, width: 3, channels: 4, prefix: 2, own_prefix: false }, 2000, [5, 3]),
        // A product and the statistics, in two parts.
        random(fused, 9300, [4, 4]),
    ]
}

/// The same of kernels without values of half precision.
fn single_batches() -> Vec<Split> {
    let slice = |row_length, offset| RowSlice { row_length, offset };
    let norm =
        GroupAffine { batch: 40, pixels: 6, tile: 4, channels: [4, 2], groups: 2, eps: 1e-5, film: Some(slice(14, 2)) };
    let ddpm = DdpmStep {
        batch: 40,
        height: 2,
        width: 1,
        channels: 3,
        steps: 5,
        learned_variance: true,
        predict: Prediction::Epsilon,
        clip: true,
    };
    let ddim = DdimStep {
        batch: 40,
        height: 2,
        width: 1,
        channels: 3,
        steps: 5,
        learned_variance: true,
        predict: Prediction::Epsilon,
        clip: true,
        noise: true,
    };
    let look_up = |batch, index| embedding::inputs(Embedding { table_rows: 3, channels: 6, batch, index }, 1);
    vec![
        random(FilmAffine { batch: 40, channels: 5, rows: slice(12, 1), film: slice(12, 2) }, 1600, [2, 2]),
        split(group_affine::inputs(norm, 0), 2200, [2, 2]),
        split(look_up(100, Index::PerSample), 1600, [2, 2]),
        split(look_up(40, Index::Step), 900, [2, 2]),
        random(
            ResizeBilinear { batch: 40, height: 2, width: 3, channels: 1, out_height: 3, out_width: 4 },
            1600,
            [2, 2],
        ),
        split(ddpm_step::inputs(ddpm, 2), 1600, [2, 2]),
        split(ddim_step::inputs(ddim, 2), 1600, [2, 2]),
        split(to_rgba8::inputs(ToRgba8 { batch: 100, height: 1, width: 1 }, 3), 20_000, [2, 2]),
    ]
}

#[test]
fn parts_of_batches_agree() {
    assert_splits_agree(batches());
    assert_splits_agree(single_batches());
}
