//! `tokens`: the twin against rows strung together.

use percept::kernels::Parameters;
use percept::kernels::Tokens;
use percept_tests::{Bound, Case, assert_close};

/// One of everything, odd numbers, more prefix than patches, around a workgroup.
pub fn cases() -> Vec<Tokens> {
    let new = |[batch, height, width, channels, prefix]: [usize; 5]| Tokens { batch, height, width, channels, prefix };
    vec![
        new([1, 1, 1, 1, 1]),
        new([3, 2, 3, 5, 1]),
        new([2, 3, 2, 4, 5]),
        new([2, 1, 2, 7, 9]),
        new([1, 3, 5, 15, 2]),
        new([1, 3, 5, 16, 1]),
        new([1, 16, 16, 1, 1]),
        new([2, 5, 3, 64, 5]),
    ]
}

#[test]
fn the_twin_strings_rows_together() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("tokens").expect("a case that has tokens");
        let case = Case::random(p.clone(), seed as u64);
        let mut want: Vec<f64> = Vec::new();
        for image in case.floats("patches").chunks(p.height * p.width * p.channels) {
            want.extend(case.floats("prefix").iter().map(|&x| f64::from(x)));
            want.extend(image.iter().zip(case.floats("positions")).map(|(&x, &at)| f64::from(x) + f64::from(at)));
        }
        assert_close(&case.name(), &case.twin(), &want, Bound::F32);
    }
}

#[test]
fn by_hand() {
    let mut case = Case::random(Tokens { batch: 2, height: 1, width: 2, channels: 1, prefix: 2 }, 0);
    case.set("patches", &[1.0, 2.0, 3.0, 4.0]);
    case.set("positions", &[10.0, 20.0]);
    case.set("prefix", &[-1.0, -2.0]);
    assert_eq!(case.twin(), [-1.0, -2.0, 11.0, 22.0, -1.0, -2.0, 13.0, 24.0]);
}

#[test]
fn what_has_no_tokens_is_refused() {
    let good = cases().remove(1);
    for bad in [
        Tokens { batch: 0, ..good.clone() },
        Tokens { height: 0, ..good.clone() },
        Tokens { width: 0, ..good.clone() },
        Tokens { channels: 0, ..good.clone() },
        Tokens { prefix: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("tokens"), "tokens");
    }
}
