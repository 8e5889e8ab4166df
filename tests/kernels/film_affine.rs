//! Tests `film_affine`: the twin's rows against both maps applied one after the other.

use percept::kernels::Parameters;
use percept::kernels::{FilmAffine, RowSlice};
use percept_tests::{Bound, Case, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with one channel, odd numbers and sizes around a workgroup, and with parts that fill their row
/// and that do not.
pub fn cases() -> Vec<FilmAffine> {
    let new = |batch, channels, [rows_before, rows_after]: [usize; 2], [film_before, film_after]: [usize; 2]| {
        let slice = |before, after| RowSlice { row_length: before + 2 * channels + after, offset: before };
        FilmAffine { batch, channels, rows: slice(rows_before, rows_after), film: slice(film_before, film_after) }
    };
    vec![
        new(1, 1, [0, 0], [0, 0]),
        new(3, 5, [0, 0], [0, 0]),
        new(2, 5, [3, 0], [0, 4]),
        new(3, 4, [7, 2], [1, 6]),
        new(5, 51, [0, 0], [2, 0]),
        new(2, 128, [1, 0], [0, 0]),
        new(1, 257, [0, 1], [0, 0]),
    ]
}

#[test]
fn the_twins_rows_are_both_maps() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("film").expect("a case that has rows");
        let case = Case::random(p.clone(), seed as u64);
        let row = |name: &str, slice: RowSlice, n: usize| -> Vec<f64> {
            let row = case.floats(name).chunks(slice.row_length).nth(n).expect("a row of the sample");
            row[slice.offset..].iter().map(|&v| f64::from(v)).collect()
        };
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for (n, out) in case.twin().chunks(2 * p.channels).enumerate() {
            let (rows, film) = (row("rows", p.rows, n), row("film", p.film, n));
            for (c, d) in (0..p.channels).zip(p.channels..) {
                for x in [-1.0, 0.0, 2.0] {
                    got.push(x * f64::from(out[c]) + f64::from(out[d]));
                    let normed = x * rows[c] + rows[d];
                    want.push(normed + normed * film[c] + film[d]);
                }
            }
        }
        assert_close(&case.name(), &got, &want, Bound::F32);
    }
}

#[test]
fn by_hand() {
    let slice = |row_length, offset| RowSlice { row_length, offset };
    let p = FilmAffine { batch: 1, channels: 2, rows: slice(5, 1), film: slice(4, 0) };
    let mut case = Case::random(p, 0);
    case.set("rows", &[99.0, 2.0, 3.0, 5.0, 7.0]);
    case.set("film", &[0.0, 1.0, 10.0, 100.0]);
    assert_eq!(case.twin(), [2.0, 6.0, 15.0, 114.0]);
}

#[test]
fn what_has_no_rows_is_refused() {
    let good = cases().remove(2);
    let slice = |row_length, offset| RowSlice { row_length, offset };
    for bad in [
        FilmAffine { batch: 0, ..good.clone() },
        FilmAffine { channels: 0, ..good.clone() },
        FilmAffine { rows: slice(12, 3), ..good.clone() },
        FilmAffine { film: slice(9, 0), ..good.clone() },
    ] {
        crate::refused(bad.check("film"), "film");
    }
}
