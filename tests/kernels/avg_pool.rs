//! Tests `avg_pool`: the twin against a scatter in which every pixel adds its share to its window.

use percept::kernels::Parameters;
use percept::kernels::{Activation, AvgPool, Load, RowSlice};
use percept_tests::{Bound, Case, Image, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with windows of one pixel, windows of the whole image, windows that leave pixels over, and
/// each load, and with sizes around a workgroup, around the number of pixels that makes a window large, and
/// around the numbers of channels and columns that then share a workgroup.
pub fn cases() -> Vec<AvgPool> {
    let new = |[batch, height, width, channels]: [usize; 4], kernel| AvgPool {
        batch,
        height,
        width,
        channels,
        kernel,
        load: Load::Plain,
    };
    let affine = |row_length, offset, activation| Load::Affine { rows: RowSlice { row_length, offset }, activation };
    vec![
        new([1, 1, 1, 1], [1, 1]),
        new([2, 3, 5, 3], [1, 1]),
        new([2, 4, 6, 3], [2, 2]),
        new([2, 5, 7, 3], [2, 2]),
        new([1, 7, 5, 2], [3, 2]),
        new([3, 7, 7, 5], [7, 7]),
        new([1, 2, 3, 63], [2, 3]),
        new([1, 2, 3, 64], [2, 3]),
        new([1, 2, 3, 65], [2, 3]),
        AvgPool { load: affine(6, 0, Activation::Identity), ..new([2, 4, 4, 3], [2, 2]) },
        AvgPool { load: affine(13, 4, Activation::Silu), ..new([2, 6, 5, 4], [2, 2]) },
        AvgPool { load: affine(7, 1, Activation::Relu), ..new([3, 5, 3, 3], [5, 3]) },
        AvgPool { load: affine(8, 0, Activation::Gelu), ..new([1, 2, 2, 4], [1, 2]) },
        new([1, 5, 17, 3], [1, 1]),
        new([1, 4, 16, 4], [1, 1]),
        new([1, 1, 257, 1], [1, 1]),
        new([2, 9, 17, 3], [8, 8]),
        new([2, 6, 27, 3], [5, 13]),
        new([1, 10, 14, 31], [10, 7]),
        new([1, 9, 8, 32], [9, 8]),
        new([1, 8, 18, 33], [8, 9]),
        AvgPool { load: affine(74, 4, Activation::Silu), ..new([2, 13, 5, 35], [13, 5]) },
    ]
}

fn truth(p: &AvgPool, case: &Case) -> Vec<f64> {
    let shape = [p.batch, p.height, p.width, p.channels];
    let mut image = Image::new(shape, case.floats("source"));
    if let Load::Affine { rows, activation } = p.load {
        image = image.affine(case.floats("rows"), rows, activation);
    }
    let [kernel_h, kernel_w] = p.kernel;
    let [out_h, out_w] = [p.height / kernel_h, p.width / kernel_w];
    let mut means = Image::filled([p.batch, out_h, out_w, p.channels], 0.0);
    for (i, [n, y, x, c]) in image.indices().into_iter().enumerate() {
        let (p, q) = (y / kernel_h, x / kernel_w);
        if p < out_h && q < out_w {
            let at = means.at([n, p, q, c]);
            means.data[at] += image.data[i] / (kernel_h * kernel_w) as f64;
        }
    }
    means.data
}

#[test]
fn the_twin_is_the_mean_of_the_shares() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("pool").expect("a case that is a pooling");
        let case = Case::random(p.clone(), seed as u64);
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::F32);
    }
}

#[test]
fn by_hand() {
    let p = AvgPool { batch: 1, height: 3, width: 4, channels: 1, kernel: [2, 2], load: Load::Plain };
    let mut case = Case::random(p, 0);
    // The last row does not fill a window.
    #[rustfmt::skip]
    case.set("source", &[
        1.0, 2.0, 10.0, 20.0,
        3.0, 6.0, 30.0, 60.0,
        f32::NAN, 7.0, 7.0, 7.0,
    ]);
    assert_eq!(case.twin(), [3.0, 30.0]);
}

#[test]
fn the_activation_comes_before_the_mean() {
    let rows = RowSlice { row_length: 2, offset: 0 };
    let load = Load::Affine { rows, activation: Activation::Relu };
    let p = AvgPool { batch: 1, height: 1, width: 2, channels: 1, kernel: [1, 2], load };
    let mut case = Case::random(p, 0);
    case.set("source", &[-5.0, 5.0]);
    case.set("rows", &[2.0, 4.0]);
    assert_eq!(case.twin(), [7.0]);
}

#[test]
fn what_is_no_pooling_is_refused() {
    let good = cases().remove(10);
    let rows = RowSlice { row_length: 12, offset: 5 };
    for bad in [
        AvgPool { batch: 0, ..good.clone() },
        AvgPool { channels: 0, ..good.clone() },
        AvgPool { kernel: [0, 2], ..good.clone() },
        AvgPool { kernel: [7, 1], ..good.clone() },
        AvgPool { kernel: [1, 6], ..good.clone() },
        AvgPool { load: Load::Affine { rows, activation: Activation::Silu }, ..good.clone() },
    ] {
        crate::refused(bad.check("pool"), "pool");
    }
}
