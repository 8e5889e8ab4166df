//! Tests `max_pool`: the twin against a scatter in which every pixel updates the maximum of each of its
//! windows.

use percept::kernels::MaxPool;
use percept::kernels::Parameters;
use percept_tests::plain::{pairs, window};
use percept_tests::{Bound, Case, Image, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with ResNet's window, windows that overlap or leave pixels out, odd sizes, and padding.
pub fn cases() -> Vec<MaxPool> {
    let new = |[batch, height, width, channels]: [usize; 4], kernel, stride, padding| MaxPool {
        batch,
        height,
        width,
        channels,
        kernel,
        stride,
        padding,
    };
    vec![
        new([1, 1, 1, 1], [1, 1], 1, 0),
        new([1, 1, 1, 2], [3, 3], 2, 1),
        new([2, 8, 8, 3], [3, 3], 2, 1),
        new([2, 7, 9, 3], [3, 3], 2, 1),
        new([2, 5, 6, 4], [2, 2], 2, 0),
        new([2, 5, 6, 4], [2, 2], 1, 1),
        new([1, 5, 7, 3], [3, 2], 1, 1),
        new([1, 9, 8, 3], [2, 2], 3, 0),
        new([3, 4, 5, 2], [4, 5], 1, 0),
        new([1, 4, 4, 5], [5, 5], 1, 2),
        new([1, 3, 4, 63], [3, 3], 2, 1),
        new([1, 3, 4, 64], [3, 3], 2, 1),
        new([1, 3, 4, 65], [3, 3], 2, 1),
        new([1, 5, 17, 3], [3, 3], 1, 1),
        new([1, 4, 16, 4], [3, 3], 1, 1),
        new([1, 1, 257, 1], [1, 1], 1, 0),
    ]
}

fn truth(p: &MaxPool, case: &Case) -> Vec<f64> {
    let image = Image::new([p.batch, p.height, p.width, p.channels], case.floats("source"));
    let [out_h, out_w] = [(p.height, p.kernel[0]), (p.width, p.kernel[1])]
        .map(|(length, kernel)| (length + 2 * p.padding - kernel) / p.stride + 1);
    let mut largest = Image::filled([p.batch, out_h, out_w, p.channels], f64::NEG_INFINITY);
    for (i, [n, y, x, c]) in image.indices().into_iter().enumerate() {
        for (ky, kx) in pairs(p.kernel[0], p.kernel[1]) {
            if let (Some(a), Some(b)) =
                (window(y + p.padding, ky, p.stride, out_h), window(x + p.padding, kx, p.stride, out_w))
            {
                let at = largest.at([n, a, b, c]);
                largest.data[at] = largest.data[at].max(image.data[i]);
            }
        }
    }
    largest.data
}

#[test]
fn the_twin_is_the_highest_bid() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("maxpool").expect("a case that is a pooling");
        let mut case = Case::random(p.clone(), seed as u64);
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::EXACT);
        // All values are below zero, so that a padding of zeros would win.
        let below: Vec<f32> = case.floats("source").iter().map(|v| v - 2.0).collect();
        case.set("source", &below);
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::EXACT);
        assert!(case.twin().iter().all(|v| *v < 0.0), "{}", case.name());
    }
}

#[test]
fn by_hand() {
    let p = MaxPool { batch: 1, height: 3, width: 4, channels: 1, kernel: [3, 3], stride: 2, padding: 1 };
    let mut case = Case::random(p, 0);
    #[rustfmt::skip]
    case.set("source", &[
        -9.0, -8.0, -7.0, -1.0,
        -6.0, -5.0, -4.0, -2.0,
        -3.0, -7.0, -8.0, -9.0,
    ]);
    assert_eq!(case.twin(), [-5.0, -1.0, -3.0, -2.0]);
}

#[test]
fn nan_wins_in_each_of_its_windows_and_in_no_other() {
    let p = MaxPool { batch: 1, height: 1, width: 7, channels: 1, kernel: [1, 3], stride: 2, padding: 0 };
    let mut case = Case::random(p, 0);
    let pooled = |case: &mut Case, place: usize| {
        let mut source = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, f32::INFINITY];
        source[place] = f32::NAN;
        case.set("source", &source);
        case.twin().iter().map(|v| v.is_nan()).collect::<Vec<bool>>()
    };
    assert_eq!(pooled(&mut case, 0), [true, false, false]);
    assert_eq!(pooled(&mut case, 1), [true, false, false]);
    assert_eq!(pooled(&mut case, 2), [true, true, false]);
    assert_eq!(pooled(&mut case, 5), [false, false, true]);
    assert_eq!(pooled(&mut case, 6), [false, false, true]);
}

#[test]
fn what_is_no_pooling_is_refused() {
    let good = cases().remove(2);
    for bad in [
        MaxPool { batch: 0, ..good.clone() },
        MaxPool { stride: 0, ..good.clone() },
        MaxPool { kernel: [3, 0], padding: 0, ..good.clone() },
        MaxPool { padding: 2, ..good.clone() },
        MaxPool { kernel: [3, 1], ..good.clone() },
        MaxPool { kernel: [11, 3], ..good.clone() },
        MaxPool { kernel: [3, 11], ..good.clone() },
    ] {
        crate::refused(bad.check("maxpool"), "maxpool");
    }
}
