//! Tests `not_finite`: the twin against Rust's `is_finite`, and by hand.

use percept::kernels::{NotFinite, Parameters};
use percept_tests::Case;

/// A size, and the words of some elements. All others are finite floats of random values.
#[derive(Clone, Debug)]
pub struct Planted {
    p: NotFinite,
    words: Vec<(usize, u32)>,
}

/// Infinities, and NaN of either sign, quiet and signalling.
const NOT_FINITE: [u32; 6] = [0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffff_ffff, 0x7f80_0001, 0xff80_0001];

/// The largest floats, the smallest normal ones, the subnormal ones at both ends, and zeros.
const FINITE: [u32; 10] = [
    0x7f7f_ffff,
    0xff7f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x007f_ffff,
    0x807f_ffff,
    0x0000_0001,
    0x8000_0001,
    0x0000_0000,
    0x8000_0000,
];

/// 4095, 4096 and 4097 elements.
const AROUND_A_TILE: [[usize; 4]; 3] = [[1, 5, 9, 91], [1, 16, 16, 16], [1, 17, 241, 1]];

fn new([batch, height, width, channels]: [usize; 4]) -> NotFinite {
    NotFinite { batch, height, width, channels }
}

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one element and with sizes around one tile and several. Each kind of non-finite word is
/// at the ends of tiles, and there are finite words that are almost not finite.
pub fn cases() -> Vec<Planted> {
    let planted = |shape, words: &[(usize, u32)]| Planted { p: new(shape), words: words.to_vec() };
    let mut cases = vec![planted([1, 1, 1, 1], &[])];
    cases.extend(AROUND_A_TILE.map(|shape| planted(shape, &[])));
    for word in NOT_FINITE {
        cases.push(planted([1, 1, 1, 1], &[(0, word)]));
        cases.push(planted(AROUND_A_TILE[0], &[(4094, word)]));
        for place in [0, 4095, 4096, 6143] {
            // Two samples of 3072 elements in two tiles.
            cases.push(planted([2, 32, 32, 3], &[(place, word)]));
        }
        cases.push(planted(AROUND_A_TILE[2], &[(4096, word)]));
    }
    for word in FINITE {
        cases.push(planted([1, 1, 1, 1], &[(0, word)]));
    }
    let all: Vec<(usize, u32)> = FINITE.into_iter().enumerate().map(|(i, word)| (4091 + i, word)).collect();
    cases.push(planted([2, 32, 32, 3], &all));
    // Nine whole tiles: all but the fifth and the last hold a non-finite word, and one of them two.
    let most = [0, 4096, 3 * 4096 - 1, 3 * 4096 + 17, 5 * 4096, 5 * 4096 + 1, 6 * 4096 + 99, 8 * 4096 - 1];
    cases.push(planted([3, 64, 64, 3], &most.map(|place| (place, NOT_FINITE[place % 6]))));
    cases
}

/// Creates inputs with the planted words among pseudo-random floats.
pub fn inputs(planted: Planted, seed: u64) -> Case {
    let mut case = Case::random(planted.p, seed);
    let mut source = case.words("source").to_vec();
    planted.words.iter().for_each(|&(place, word)| source[place] = word);
    case.set_words("source", &source);
    case
}

#[test]
fn the_twin_finds_what_is_not_finite() {
    for (seed, planted) in cases().into_iter().enumerate() {
        planted.p.check("x").expect("a case that can be tested");
        let case = inputs(planted.clone(), seed as u64);
        let tiles = case.floats("source").chunks(4096);
        let want: Vec<u32> = tiles.map(|tile| u32::from(!tile.iter().all(|x| x.is_finite()))).collect();
        assert_eq!(want.len(), planted.p.tiles(), "{planted:?}");
        assert_eq!(case.run(percept::reference::run), [want], "{planted:?}");
    }
}

#[test]
fn by_hand() {
    let found = |shape, words: &[(usize, u32)]| {
        let case = inputs(Planted { p: new(shape), words: words.to_vec() }, 0);
        case.run(percept::reference::run).swap_remove(0)
    };
    let [infinity, nan, largest] = [f32::INFINITY, f32::NAN, f32::MAX].map(f32::to_bits);
    for (shape, tiles) in AROUND_A_TILE.into_iter().zip([1, 1, 2]) {
        assert_eq!(found(shape, &[]), vec![0; tiles]);
    }
    let two_samples = [2, 32, 32, 3];
    assert_eq!(found(two_samples, &[(4095, nan)]), [1, 0]);
    assert_eq!(found(two_samples, &[(4096, infinity)]), [0, 1]);
    assert_eq!(found(two_samples, &[(0, infinity), (6143, nan)]), [1, 1]);
    assert_eq!(found(two_samples, &[(0, largest), (6143, 1)]), [0, 0]);
}

#[test]
fn what_holds_nothing_is_refused() {
    let good = new([1, 2, 3, 4]);
    assert_eq!(good.check("x"), Ok(()));
    for bad in [
        NotFinite { batch: 0, ..good.clone() },
        NotFinite { height: 0, ..good.clone() },
        NotFinite { width: 0, ..good.clone() },
        NotFinite { channels: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("x"), "x");
    }
}
