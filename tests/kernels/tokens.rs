//! Tests `tokens`: the twin against concatenated rows.

use percept::kernels::Parameters;
use percept::kernels::Tokens;
use percept_tests::{Bound, Case, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with ones only, odd numbers, a prefix longer than the patches, and sizes around a workgroup.
pub fn cases() -> Vec<Tokens> {
    let new = |[batch, height, width, channels, prefix]: [usize; 5]| Tokens {
        batch,
        height,
        width,
        channels,
        prefix,
        own_prefix: false,
    };
    let shared = vec![
        new([1, 1, 1, 1, 1]),
        new([3, 2, 3, 5, 1]),
        new([2, 3, 2, 4, 5]),
        new([2, 1, 2, 7, 9]),
        new([1, 3, 5, 15, 2]),
        new([1, 3, 5, 16, 1]),
        new([1, 14, 18, 1, 3]),
        new([1, 15, 17, 1, 1]),
        new([1, 16, 16, 1, 1]),
        new([2, 5, 3, 64, 5]),
    ];
    let own: Vec<Tokens> = shared.iter().map(|p| Tokens { own_prefix: true, ..p.clone() }).collect();
    [shared, own].concat()
}

#[test]
fn the_twin_strings_rows_together() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("tokens").expect("a case that has tokens");
        let case = Case::random(p.clone(), seed as u64);
        let mut want: Vec<f64> = Vec::new();
        let of_prefix = p.prefix * p.channels;
        for (n, image) in case.floats("patches").chunks(p.height * p.width * p.channels).enumerate() {
            let first = if p.own_prefix { n * of_prefix } else { 0 };
            let prefix = &case.floats("prefix")[first..first + of_prefix];
            let without = if p.own_prefix { 0 } else { of_prefix };
            let positions = vec![0.0; without].into_iter().chain(case.floats("positions").iter().copied());
            let tokens = prefix.iter().chain(image);
            want.extend(tokens.zip(positions).map(|(&x, at)| f64::from(x) + f64::from(at)));
        }
        assert_close(&case.name(), &case.twin(), &want, Bound::F32);
    }
}

#[test]
fn by_hand() {
    let p = Tokens { batch: 2, height: 1, width: 2, channels: 1, prefix: 2, own_prefix: false };
    let mut case = Case::random(p.clone(), 0);
    case.set("patches", &[1.0, 2.0, 3.0, 4.0]);
    case.set("positions", &[10.0, 20.0]);
    case.set("prefix", &[-1.0, -2.0]);
    assert_eq!(case.twin(), [-1.0, -2.0, 11.0, 22.0, -1.0, -2.0, 13.0, 24.0]);

    let mut case = Case::random(Tokens { own_prefix: true, ..p }, 0);
    case.set("patches", &[1.0, 2.0, 3.0, 4.0]);
    case.set("positions", &[100.0, 200.0, 300.0, 400.0]);
    case.set("prefix", &[-1.0, -2.0, -3.0, -4.0]);
    assert_eq!(case.twin(), [99.0, 198.0, 301.0, 402.0, 97.0, 196.0, 303.0, 404.0]);
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
