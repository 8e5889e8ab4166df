//! Tests `concat`: the twin against concatenated pixels.

use percept::kernels::Concat;
use percept::kernels::Parameters;
use percept_tests::{Bound, Case, Image, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with one channel each, odd and unequal numbers, and sizes around a workgroup.
pub fn cases() -> Vec<Concat> {
    let new = |[batch, height, width]: [usize; 3], channels| Concat { batch, height, width, channels };
    vec![
        new([1, 1, 1], [1, 1]),
        new([2, 3, 5], [3, 4]),
        new([2, 3, 5], [1, 6]),
        new([3, 1, 4], [7, 1]),
        new([1, 2, 2], [63, 2]),
        new([1, 2, 2], [64, 64]),
        new([1, 2, 2], [2, 65]),
        new([1, 1, 5], [40, 11]),
        new([1, 2, 2], [33, 31]),
        new([1, 1, 1], [200, 57]),
    ]
}

#[test]
fn the_twin_is_the_pixels_strung_together() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("skip").expect("a case that is a concatenation");
        let case = Case::random(p.clone(), seed as u64);
        let image = |name, channels| Image::new([p.batch, p.height, p.width, channels], case.floats(name));
        let want = image("source", p.channels[0]).concat(&image("second", p.channels[1]));
        assert_close(&case.name(), &case.twin(), &want.data, Bound::EXACT);
    }
}

#[test]
fn by_hand() {
    let mut case = Case::random(Concat { batch: 2, height: 1, width: 1, channels: [2, 1] }, 0);
    case.set("source", &[1.0, 2.0, 3.0, 4.0]);
    case.set("second", &[-1.0, -2.0]);
    assert_eq!(case.twin(), [1.0, 2.0, -1.0, 3.0, 4.0, -2.0]);
}

#[test]
fn what_is_no_concatenation_is_refused() {
    let good = cases().remove(1);
    for bad in [
        Concat { batch: 0, ..good.clone() },
        Concat { channels: [0, 4], ..good.clone() },
        Concat { channels: [3, 0], ..good.clone() },
    ] {
        crate::refused(bad.check("skip"), "skip");
    }
}
