//! Tests `conv`: the twin against separate plain steps with the convolution itself as a scatter, and its
//! statistics against the raw moments of its result.

use percept::kernels::Parameters;
use percept::kernels::{Activation, Conv, Dense, Load, RowSlice};
use percept_tests::{Bound, Case, Image, assert_close};

use crate::channel_stats;

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with every way to load, to place the window and to store, and sizes around those of tiles.
pub fn cases() -> Vec<Conv> {
    let new = Conv::new;
    let rows = |row_length, offset| RowSlice { row_length, offset };
    let affine = |row_length, offset, activation| Load::Affine { rows: rows(row_length, offset), activation };
    let silu = Activation::Silu;
    let mut cases = vec![
        // Sizes: ones only, odd sizes, windows as large as the image and larger.
        new([1, 1, 1, 1], 1, 1),
        new([1, 1, 1, 1], 1, 3),
        new([1, 1, 1, 3], 2, 3),
        new([2, 5, 7, 3], 5, 3),
        new([1, 2, 2, 4], 4, 5),
        new([3, 4, 3, 5], 2, 1),
        // The window: its stride, its padding, its two sides.
        Conv { stride: 2, ..new([2, 7, 8, 3], 4, 3) },
        Conv { stride: 2, ..new([1, 8, 7, 3], 4, 1) },
        Conv { stride: 2, ..new([2, 17, 15, 3], 8, 7) },
        Conv { stride: 3, ..new([1, 9, 4, 2], 3, 3) },
        Conv { padding: 0, ..new([1, 5, 3, 2], 3, 3) },
        Conv { padding: 2, ..new([1, 3, 4, 2], 3, 3) },
        Conv { padding: 2, ..new([2, 3, 3, 2], 3, 1) },
        Conv { kernel: [1, 3], padding: 0, ..new([2, 4, 5, 3], 2, 1) },
        Conv { kernel: [3, 2], ..new([1, 4, 5, 3], 2, 3) },
        // The load.
        Conv { in_channels: [3, 2], ..new([2, 4, 5, 3], 4, 3) },
        Conv { in_channels: [1, 4], ..new([1, 3, 3, 1], 2, 1) },
        Conv { load: affine(6, 0, Activation::Identity), ..new([2, 4, 4, 3], 2, 3) },
        Conv { load: affine(11, 2, silu), ..new([2, 4, 5, 4], 3, 3) },
        Conv { load: affine(9, 3, Activation::Relu), padding: 2, ..new([2, 3, 3, 3], 2, 3) },
        Conv { load: affine(14, 4, silu), in_channels: [2, 3], ..new([3, 4, 3, 2], 5, 3) },
        Conv { upsample: 2, ..new([2, 3, 4, 3], 2, 3) },
        Conv { upsample: 2, ..new([1, 2, 3, 3], 2, 1) },
        Conv { upsample: 2, load: affine(6, 0, silu), ..new([2, 3, 2, 3], 4, 3) },
        Conv { upsample: 2, stride: 2, in_channels: [2, 1], ..new([1, 4, 3, 2], 3, 3) },
        // The store.
        Conv { bias: true, ..new([2, 3, 4, 3], 5, 3) },
        Conv { add: Some(rows(5, 0)), ..new([2, 3, 4, 3], 5, 3) },
        Conv { add: Some(rows(12, 7)), bias: true, ..new([3, 2, 2, 3], 5, 1) },
        Conv { residual: Some(1), ..new([2, 3, 5, 3], 4, 3) },
        Conv { residual: Some(2), upsample: 2, ..new([2, 3, 2, 3], 4, 3) },
        Conv { residual: Some(2), ..new([1, 4, 6, 3], 4, 3) },
        Conv { residual: Some(1), stride: 2, ..new([1, 5, 6, 3], 4, 3) },
        Conv { activation: Activation::Relu, bias: true, ..new([1, 4, 4, 3], 4, 3) },
        Conv { activation: silu, ..new([1, 4, 4, 3], 4, 3) },
        Conv { activation: Activation::Gelu, ..new([1, 4, 4, 3], 4, 3) },
        // The statistics gathered in the store: of one pixel, with tiles that fit and that do not, and with one
        // tile that is larger than the image.
        Conv { stats: Some(1), ..new([1, 1, 1, 1], 1, 1) },
        Conv { stats: Some(64), ..new([2, 1, 1, 3], 5, 3) },
        Conv { stats: Some(1), ..new([2, 3, 5, 3], 4, 3) },
        Conv { stats: Some(4), ..new([2, 5, 7, 3], 5, 3) },
        Conv { stats: Some(34), ..new([2, 5, 7, 3], 5, 3) },
        Conv { stats: Some(35), ..new([2, 5, 7, 3], 5, 3) },
        Conv { stats: Some(64), bias: true, ..new([3, 5, 7, 3], 5, 3) },
        Conv { stats: Some(64), ..new([2, 9, 15, 5], 33, 3) },
        Conv { stats: Some(8), stride: 2, ..new([2, 7, 8, 3], 4, 3) },
        Conv { stats: Some(16), upsample: 2, bias: true, ..new([1, 3, 5, 3], 4, 3) },
        Conv { stats: Some(7), activation: silu, bias: true, ..new([2, 4, 5, 3], 4, 3) },
        Conv { stats: Some(16), residual: Some(2), upsample: 2, ..new([2, 3, 3, 3], 4, 3) },
        // The first and the second convolution of a residual block: eight buffers, and seven.
        Conv {
            in_channels: [4, 3],
            load: affine(20, 5, silu),
            bias: true,
            add: Some(rows(9, 1)),
            stats: Some(64),
            ..new([2, 9, 11, 4], 6, 3)
        },
        Conv { load: affine(12, 0, silu), bias: true, residual: Some(1), stats: Some(64), ..new([2, 9, 11, 6], 6, 3) },
        // Everything at once except statistics, for which no buffer is left.
        Conv {
            in_channels: [5, 2],
            upsample: 2,
            load: affine(20, 5, silu),
            bias: true,
            add: Some(rows(9, 1)),
            residual: Some(2),
            activation: Activation::Relu,
            ..new([3, 3, 5, 5], 6, 3)
        },
    ];
    // Sizes around tiles of pixels, of output channels, and of the depth of the sum.
    for edge in [16, 32, 64] {
        for size in [edge - 1, edge, edge + 1] {
            cases.push(new([1, 1, size, 2], 3, 1));
            cases.push(new([2, 2, 2, 3], size, 3));
            cases.push(new([2, 3, 2, size], 2, 1));
        }
    }
    cases.push(new([1, 9, 15, 29], 33, 3));
    for pixels in [63, 64, 65, 128, 129] {
        cases.push(Conv { stats: Some(64), ..new([2, 1, pixels, 2], 3, 1) });
        cases.push(Conv { stats: Some(64), ..new([1, 3, 3, 2], pixels, 1) });
    }
    cases
}

/// Computes each fusion as a separate step.
fn truth(p: &Conv, case: &Case) -> Vec<f64> {
    let shape = |channels| [p.batch, p.height, p.width, channels];
    let mut image = Image::new(shape(p.in_channels[0]), case.floats("source"));
    if p.in_channels[1] > 0 {
        image = image.concat(&Image::new(shape(p.in_channels[1]), case.floats("second")));
    }
    if let Load::Affine { rows, activation } = p.load {
        image = image.affine(case.floats("rows"), rows, activation);
    }
    let [out_h, out_w] = p.out_size();
    let out = [out_h, out_w, p.out_channels];
    let weight = case.floats("weight");
    let mut image = image.enlarge(p.upsample).convolve(weight, p.kernel, out, p.stride, p.padding);
    if p.bias {
        let bias = case.floats("bias");
        image = image.map(|[.., o], v| v + f64::from(bias[o]));
    }
    if let Some(RowSlice { row_length, offset }) = p.add {
        let add = case.floats("add");
        image = image.map(|[n, .., o], v| v + f64::from(add[n * row_length + offset + o]));
    }
    if let Some(times) = p.residual {
        let shape = [p.batch, out_h / times, out_w / times, p.out_channels];
        let residual = Image::new(shape, case.floats("residual")).enlarge(times);
        image = image.map(|index, v| v + residual.data[residual.at(index)]);
    }
    image.map(|_, v| percept_tests::plain::activate(p.activation, v)).data
}

#[test]
fn the_twin_is_its_steps_one_by_one() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("conv").expect("a case that is a convolution");
        let case = Case::random(p.clone(), seed as u64);
        // Values are of the order of sqrt(depth), and loaded values are rounded to f32.
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::new(2e-6, 1e-6));
    }
}

#[test]
fn the_twin_has_the_raw_moments_of_what_it_writes() {
    let gathering = cases().into_iter().filter_map(|p| Some((p.channel_stats()?, p)));
    let mut count = 0;
    for (seed, (stats, p)) in gathering.enumerate() {
        let case = Case::random(p.clone(), seed as u64);
        let written = case.twin_outputs();
        assert_eq!(written.len(), 2, "{}", case.name());
        assert_close(&case.name(), &written[1], &channel_stats::truth(&stats, &written[0]), Bound::F32);
        // Gathering statistics does not change the result.
        let without = Case::random(Conv { stats: None, ..p }, seed as u64);
        assert_eq!(without.twin_outputs(), written[..1], "{}", case.name());
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn statistics_by_hand() {
    let mut case = Case::random(Conv { stats: Some(3), ..Conv::new([1, 1, 4, 1], 2, 1) }, 0);
    case.set("source", &[1.0, 2.0, 3.0, 9.0]);
    case.set("weight", &[1.0, -2.0]);
    let written = case.twin_outputs();
    assert_eq!(written[0], [1.0, -2.0, 2.0, -4.0, 3.0, -6.0, 9.0, -18.0]);
    // The means of both channels, then M2, over three pixels, then over the last one.
    assert_eq!(written[1], [2.0, -4.0, 2.0, 8.0, 9.0, -18.0, 0.0, 0.0]);
}

#[test]
fn the_size_of_the_result_is_pytorchs() {
    let size = |stride, padding, kernel, length| {
        Conv { stride, padding, kernel: [kernel, 1], ..Conv::new([1, length, length, 1], 1, 1) }.out_size()[0]
    };
    // floor((length + 2 padding - kernel) / stride) + 1
    assert_eq!(size(2, 3, 7, 224), 112);
    assert_eq!(size(2, 1, 3, 7), 4);
    assert_eq!(size(2, 1, 3, 8), 4);
    assert_eq!(size(2, 0, 1, 7), 4);
    assert_eq!(size(1, 0, 3, 2), 0);
}

#[test]
fn a_window_of_ones_counts_the_pixels_it_holds() {
    let mut case = Case::random(Conv::new([1, 3, 4, 1], 1, 3), 0);
    case.set("source", &[1.0; 12]);
    case.set("weight", &[1.0; 9]);
    #[rustfmt::skip]
    let want = [
        4.0, 6.0, 6.0, 4.0,
        6.0, 9.0, 9.0, 6.0,
        4.0, 6.0, 6.0, 4.0,
    ];
    assert_eq!(case.twin(), want);
}

#[test]
fn a_window_with_a_single_one_shifts() {
    let mut case = Case::random(Conv::new([1, 2, 3, 1], 1, 3), 0);
    case.set("source", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut shifted = |tap: usize| {
        let mut weight = [0.0; 9];
        weight[tap] = 1.0;
        case.set("weight", &weight);
        case.twin()
    };
    assert_eq!(shifted(4), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // The tap one up and one left of the middle shifts the image down and right.
    assert_eq!(shifted(0), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
    assert_eq!(shifted(5), [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    assert_eq!(shifted(7), [4.0, 5.0, 6.0, 0.0, 0.0, 0.0]);
}

#[test]
fn padding_is_zero_after_the_loads_activation() {
    let rows = RowSlice { row_length: 2, offset: 0 };
    let load = Load::Affine { rows, activation: Activation::Identity };
    let mut case = Case::random(Conv { load, ..Conv::new([1, 1, 1, 1], 1, 3) }, 0);
    case.set("source", &[2.0]);
    case.set("rows", &[3.0, 10.0]);
    case.set("weight", &[1.0; 9]);
    // If the padding went through the affine map, it would add 8 times 10.
    assert_eq!(case.twin(), [16.0]);
}

#[test]
fn one_by_one_is_a_matrix_product() {
    let conv = Conv { bias: true, activation: Activation::Silu, ..Conv::new([2, 3, 4, 17], 9, 1) };
    let dense =
        Dense { rows: 24, in_features: 17, out_features: 9, bias: true, residual: false, activation: Activation::Silu };
    let case = Case::random(conv, 5);
    let mut product = Case::random(dense, 6);
    for name in ["source", "weight", "bias"] {
        product.set(name, case.floats(name));
    }
    assert_eq!(case.twin(), product.twin());
}

#[test]
fn what_is_no_convolution_is_refused() {
    let good = Conv::new([1, 4, 4, 2], 3, 3);
    assert_eq!(good.check("conv1"), Ok(()));
    for bad in [
        Conv { batch: 0, ..good.clone() },
        Conv { in_channels: [0, 2], ..good.clone() },
        Conv { out_channels: 0, ..good.clone() },
        Conv { stride: 0, ..good.clone() },
        Conv { kernel: [7, 3], ..good.clone() },
        Conv { kernel: [3, 7], ..good.clone() },
        Conv { stats: Some(0), ..good.clone() },
    ] {
        crate::refused(bad.check("conv1"), "conv1");
    }
}
