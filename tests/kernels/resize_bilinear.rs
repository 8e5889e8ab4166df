//! Tests `resize_bilinear`: the twin against a scatter in which every pixel adds its share by a hat function
//! around its centre.

use percept::kernels::Parameters;
use percept::kernels::ResizeBilinear;
use percept_tests::{Bound, Case, Image, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with one pixel, odd sizes, the same size, whole factors and others, and images that grow in
/// one direction and shrink in the other.
pub fn cases() -> Vec<ResizeBilinear> {
    let new = |[batch, height, width, channels]: [usize; 4], [out_height, out_width]: [usize; 2]| ResizeBilinear {
        batch,
        height,
        width,
        channels,
        out_height,
        out_width,
    };
    vec![
        new([1, 1, 1, 1], [1, 1]),
        new([2, 1, 1, 3], [4, 5]),
        new([2, 3, 5, 3], [3, 5]),
        new([2, 4, 4, 3], [8, 8]),
        new([1, 4, 4, 3], [16, 16]),
        new([2, 3, 5, 2], [7, 11]),
        new([1, 5, 3, 1], [6, 4]),
        new([3, 8, 6, 3], [4, 3]),
        new([2, 9, 7, 5], [4, 2]),
        new([2, 5, 9, 4], [9, 5]),
        new([1, 7, 6, 3], [1, 1]),
        new([1, 1, 7, 65], [3, 7]),
        new([1, 13, 17, 3], [29, 31]),
        new([1, 3, 4, 3], [5, 17]),
        new([1, 3, 4, 4], [4, 16]),
        new([1, 1, 7, 1], [1, 257]),
    ]
}

/// Returns the share of each pixel in each pixel of the resized side: `[out][size]`.
fn shares(size: usize, out: usize) -> Vec<Vec<f64>> {
    let place = |p: usize| ((p as f64 + 0.5) * size as f64 / out as f64 - 0.5).clamp(0.0, (size - 1) as f64);
    let share = |p: usize, i: usize| (1.0 - (place(p) - i as f64).abs()).max(0.0);
    (0..out).map(|p| (0..size).map(|i| share(p, i)).collect()).collect()
}

fn truth(p: &ResizeBilinear, case: &Case) -> Vec<f64> {
    let image = Image::new([p.batch, p.height, p.width, p.channels], case.floats("source"));
    let mut resized = Image::filled([p.batch, p.out_height, p.out_width, p.channels], 0.0);
    let (down, across) = (shares(p.height, p.out_height), shares(p.width, p.out_width));
    for (i, [n, y, x, c]) in image.indices().into_iter().enumerate() {
        for (q, down) in down.iter().enumerate() {
            for (r, across) in across.iter().enumerate() {
                let at = resized.at([n, q, r, c]);
                resized.data[at] += down[y] * across[x] * image.data[i];
            }
        }
    }
    resized.data
}

#[test]
fn the_twin_is_the_sum_of_the_shares() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("resize").expect("a case that is a resizing");
        let case = Case::random(p.clone(), seed as u64);
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::F32);
    }
}

/// PyTorch's `interpolate(torch.tensor([[0., 10., 20.], [40., 50., 100.]])[None, None], (3, 4),
/// mode="bilinear")`.
#[test]
fn as_pytorch_does_it() {
    let p = ResizeBilinear { batch: 1, height: 2, width: 3, channels: 1, out_height: 3, out_width: 4 };
    let mut case = Case::random(p, 0);
    case.set("source", &[0.0, 10.0, 20.0, 40.0, 50.0, 100.0]);
    #[rustfmt::skip]
    let want = [
        0.0, 6.25, 13.75, 20.0,
        20.0, 26.25, 41.25, 60.0,
        40.0, 46.25, 68.75, 100.0,
    ];
    assert_close("resized", &case.twin(), &want, Bound::F32);
}

#[test]
fn the_same_size_is_the_same_image() {
    let p = ResizeBilinear { batch: 2, height: 5, width: 3, channels: 4, out_height: 5, out_width: 3 };
    let case = Case::random(p, 7);
    assert_eq!(case.twin(), case.floats("source"));
}

#[test]
fn what_is_no_resizing_is_refused() {
    let good = cases().remove(5);
    for bad in [
        ResizeBilinear { batch: 0, ..good.clone() },
        ResizeBilinear { height: 0, ..good.clone() },
        ResizeBilinear { width: 0, ..good.clone() },
        ResizeBilinear { channels: 0, ..good.clone() },
        ResizeBilinear { out_height: 0, ..good.clone() },
        ResizeBilinear { out_width: 0, ..good.clone() },
        // Positions that overflow 32 bits, or any integer.
        ResizeBilinear { height: 1 << 15, out_height: (1 << 15) + 1, ..good.clone() },
        ResizeBilinear { width: 2, out_width: usize::MAX, ..good.clone() },
    ] {
        crate::refused(bad.check("resize"), "resize");
    }
    let limit = ResizeBilinear { width: 1, height: 1 << 15, out_height: 1 << 15, ..good };
    limit.check("resize").expect("the largest that is counted");
}
