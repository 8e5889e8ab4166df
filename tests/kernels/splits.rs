//! Tests kernels whose buffers exceed a binding, with the variants of a graphics card: sums that are split into
//! parts for a few samples at a time, and parts of batches that begin at valid offsets, in both precisions.

use percept::Precision;
use percept::device::gpu::Gpu;
use percept::device::gpu::dispatch::{Capabilities, Dispatch, PARTIALS, Region, dispatches};
use percept::kernels::{
    Activation, Attention, AvgPool, Binding, ChannelStats, Concat, Conv, DdimStep, DdpmStep, Embedding, FilmAffine,
    GroupAffine, Index, Kernel, LayerNorm, Load, MaxPool, Prediction, QkvOrder, ResizeBilinear, RowSlice, ToRgba8,
    Tokens,
};
use percept_tests::{Case, adapters, bindings, halves};

use crate::runner::Runner;
use crate::{ddim_step, ddpm_step, embedding, group_affine, to_rgba8};

/// The alignment in bytes of a binding's offset, on every device.
const ALIGNMENT: usize = 256;

/// A case, the size limit of a binding in bytes, and the resulting number of dispatches in single and in half
/// precision.
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

/// Asserts that each dispatch binds parts that are not too large and begin at valid offsets.
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

/// Asserts that the split cases agree with the twins, and have the expected numbers of dispatches.
fn assert_splits_agree(splits: Vec<Split>) {
    let Some(adapter) = adapters().into_iter().next() else { return };
    for Split { mut case, limit, dispatches: counts } in splits {
        let small = |own| Capabilities { max_binding_bytes: limit, ..own };
        let gpu = Gpu::open_as(&adapter, small).expect("a device");
        let capabilities = *gpu.capabilities();
        let runner = Runner::Gpu(gpu);
        for (precision, count) in counts {
            let bindings = bindings(&case, precision);
            let dispatches = dispatches(&case.kernel, &bindings, &capabilities).expect("dispatches");
            assert_bound(&case.name(), &dispatches, &bindings, limit);
            assert_eq!(dispatches.len(), count, "{} in {}", case.name(), precision.name());
            if precision == Precision::F16 {
                case.round_to_half(&halves(&case));
            }
            runner.assert_agrees(&case, precision);
        }
    }
}

/// Returns sums in four parts of 144 terms. A binding holds the parts of 4 samples of 64 columns, or of 2
/// samples of 100 columns.
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
        // Three times a pair of samples. In single precision the weight has two parts, and each pair two
        // products.
        random(conv(100), 256 << 10, [9, 6]),
        // All at once.
        random(conv(64), 384 << 10, [2, 2]),
    ]
}

/// Returns sums of 256 terms. They are split into two parts if the parts of one sample fit a binding.
fn with_sums_split_as_they_fit() -> Vec<Split> {
    let conv = |batch, columns| Conv { padding: 1, bias: true, ..Conv::new([batch, 17, 17, 16], columns, 4) };
    vec![
        random(conv(1, 32), 64 << 10, [2, 2]),
        random(conv(2, 32), 64 << 10, [4, 4]),
        // Two parts of 256 pixels and 36 columns exceed 64 KiB.
        random(conv(1, 36), 64 << 10, [1, 1]),
        random(conv(1, 36), 72 << 10, [2, 2]),
    ]
}

#[test]
fn split_sums_agree() {
    assert_splits_agree(with_split_sums());
    assert_splits_agree(with_sums_split_as_they_fit());
}

/// Tests images whose sums are split, and of which two lines of the result fit a binding: 12 strips for each of
/// two samples.
#[test]
fn split_sums_of_strips_agree() {
    let strips = Conv { stride: 4, padding: 0, bias: true, load: silu(32, 0), ..Conv::new([2, 96, 96, 16], 8, 4) };
    assert_splits_agree(vec![random(strips, 64 << 10, [48, 24])]);
}

/// Returns batches of samples whose size is not a multiple of 256 bytes. A part has as many samples as fit
/// while the next part begins at a valid offset; in half precision twice as many.
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

/// Returns the same for kernels without half-precision values.
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
