//! Tests `noise`: the twin against a separate implementation of Philox and Box-Muller in `f64`.

use std::f64::consts::TAU;

use percept::kernels::Parameters;
use percept::kernels::{Noise, Stream};
use percept::reference::{cos_sin, normals, philox4x32_10, radius};
use percept_tests::{Bound, Case, assert_close};

/// The accuracy of the polynomials.
const BOUND: Bound = Bound::new(8e-7, 0.0);

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with one element, numbers of elements that fill a block of four and that do not, and sizes
/// around a workgroup, for both streams.
pub fn cases() -> Vec<Noise> {
    let sizes = [
        (1, [1, 1, 1]),
        (1, [1, 1, 3]),
        (2, [2, 2, 1]),
        (3, [1, 5, 1]),
        (2, [3, 5, 3]),
        (1, [1, 255, 1]),
        (1, [1, 256, 1]),
        (1, [1, 257, 1]),
        (1, [1, 1020, 1]),
        (1, [1, 1021, 1]),
        (2, [1, 171, 3]),
        (4, [8, 8, 3]),
    ];
    let case = |stream| move |(batch, sample): (usize, [usize; 3])| Noise { batch, sample, stream };
    [Stream::Start, Stream::Step].into_iter().flat_map(|stream| sizes.map(case(stream))).collect()
}

/// Philox4x32-10 as in figure 2 of its paper: two multiplications, two swaps, a key for each round.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    (0..10u32).fold(counter, |[a, b, c, d], round| {
        let key = [
            key[0].wrapping_add(round.wrapping_mul(0x9E37_79B9)),
            key[1].wrapping_add(round.wrapping_mul(0xBB67_AE85)),
        ];
        let left = u128::from(a) * 0xD251_1F53;
        let right = u128::from(c) * 0xCD9E_8D57;
        [(right >> 32) as u32 ^ b ^ key[0], right as u32, (left >> 32) as u32 ^ d ^ key[1], left as u32]
    })
}

/// Returns the middle of one of 2^24 equal parts of 0..1.
fn unit(word: u32) -> f64 {
    (f64::from(word >> 8) + 0.5) / f64::from(1 << 24)
}

/// Computes element `i` of the sample with that index in the run.
fn truth(stream: u32, state: [u32; 4], sample: u32, i: usize) -> f64 {
    let step = if stream == 0 { 0 } else { state[0] };
    let words = philox([i as u32 / 4, sample, step, stream], [state[2], state[3]]);
    let [u, v] = if i % 4 < 2 { [words[0], words[1]] } else { [words[2], words[3]] }.map(unit);
    let radius = (-2.0 * u.ln()).sqrt();
    if i.is_multiple_of(2) { radius * (TAU * v).cos() } else { radius * (TAU * v).sin() }
}

#[test]
fn the_twin_is_philox_and_box_muller() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("noise").expect("a case that is noise");
        let mut case = Case::random(p.clone(), seed as u64);
        // Random words, all zeros, and samples whose index wraps around.
        let random = <[u32; 4]>::try_from(case.words("state")).expect("four words");
        for state in [random, [0, 0, 0, 0], [7, u32::MAX, 1, 0]] {
            case.set_words("state", &state);
            let stream = match p.stream {
                Stream::Start => 0,
                Stream::Step => 1,
            };
            let elements = p.sample[0] * p.sample[1] * p.sample[2];
            let want: Vec<f64> = (0..p.batch * elements)
                .map(|at| (state[1].wrapping_add((at / elements) as u32), at % elements))
                .map(|(sample, i)| truth(stream, state, sample, i))
                .collect();
            assert_close(&case.name(), &case.twin(), &want, BOUND);
        }
    }
}

#[test]
fn philox_gives_the_published_answers() {
    // kat_vectors of Random123, the paper's own code.
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    for (counter, key, want) in [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ] {
        assert_eq!(philox4x32_10(counter, key), want);
        assert_eq!(philox(counter, key), want);
    }
}

#[test]
fn the_polynomials_hold_at_their_edges_and_between() {
    let edges = (0..=8u32).flat_map(|eighth| {
        let middle = (u64::from(eighth) << 29) as i64;
        (-3..3).map(move |off| middle + off * 256)
    });
    let root = (f64::from(1u32 << 31) * 2f64.sqrt()) as i64;
    let words = edges
        .chain((-3..3).map(|off| root + off * 256))
        .chain((0..32).map(|bit| 1i64 << bit))
        .chain((0..1 << 18).map(|k| k * 16_387))
        .filter_map(|word| u32::try_from(word).ok());
    for word in words {
        let (u, angle) = (unit(word), TAU * unit(word));
        let exact = (-2.0 * u.ln()).sqrt();
        let name = format!("word {word:#010x}");
        // Near u = 1 the radius is small, and its relative error is as small as elsewhere.
        assert_close(&name, &[radius(word)], &[exact], Bound::new(0.0, 1.6e-7));
        assert_close(&name, &cos_sin(word), &[angle.cos(), angle.sin()], Bound::new(1e-7, 0.0));
    }
    // The largest and the smallest radius: sqrt(-2 ln 2^-25) and about 2^-12.
    assert_close("most", &[radius(0)], &[(50.0 * 2f64.ln()).sqrt()], BOUND);
    assert!(radius(u32::MAX) > 0.0);
}

#[test]
fn many_of_them_are_normal() {
    let p = Noise { batch: 4, sample: [64, 64, 4], stream: Stream::Step };
    let mut case = Case::random(p, 0);
    case.set_words("state", &[3, 10, 42, 0]);
    let values = case.twin();
    let count = values.len() as f64;
    let moment = |k: i32| values.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / count;
    // Five standard errors each, for the moments 1 to 4 of 65 536 standard normals.
    for (k, want, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let error = (moment(k) - want).abs();
        assert!(error <= 5.0 * f64::sqrt(variance / count), "moment {k} is off by {error}");
    }
}

#[test]
fn each_of_stream_step_sample_and_seed_makes_other_noise() {
    let all = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];
    let noise = |stream| {
        all.map(|state| {
            let mut case = Case::random(Noise { batch: 1, sample: [2, 2, 3], stream }, 0);
            case.set_words("state", &state);
            case.twin()
        })
    };
    let (start, step) = (noise(Stream::Start), noise(Stream::Step));
    assert_eq!(start[0], start[1], "the start has no step");
    let mut different: Vec<&Vec<f32>> = start[1..].iter().chain(&step).collect();
    let count = different.len();
    different.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    different.dedup();
    assert_eq!(different.len(), count);
}

#[test]
fn a_sample_has_its_noise_wherever_it_lies_in_a_batch() {
    let noise = |batch, first| {
        let mut case = Case::random(Noise { batch, sample: [1, 7, 3], stream: Stream::Step }, 0);
        case.set_words("state", &[5, first, 6, 7]);
        case.twin()
    };
    assert_eq!(noise(3, 4)[21..42], noise(1, 5));
    assert_eq!(noise(1, 5)[..4], normals([0, 5, 5, 1], [6, 7]));
}

#[test]
fn what_is_no_noise_is_refused() {
    let good = cases().remove(4);
    for bad in [Noise { batch: 0, ..good.clone() }, Noise { sample: [3, 0, 3], ..good.clone() }] {
        crate::refused(bad.check("noise"), "noise");
    }
}
