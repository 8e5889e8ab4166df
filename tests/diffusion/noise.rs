use std::f64::consts::PI;

use percept::diffusion::noise::{Stream, fill, state};
use percept::kernels::{Kernel, Noise, Reads};
use percept::reference::{cos_sin, normal_pair, normals, philox4x32_10, radius};

/// The known answers that come with Random123, the authors' own implementation.
#[test]
fn philox_gives_the_known_answers() {
    let cases = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, want) in cases {
        assert_eq!(philox4x32_10(counter, key), want, "{counter:x?} {key:x?}");
    }
}

/// Returns the exact number between 0 and 1 that a word represents.
fn uniform(word: u32) -> f64 {
    (f64::from(word >> 8) + 0.5) / 16_777_216.0
}

/// Every possible radius has a relative error below 1e-7, also near u = 1, where -ln u is almost 0.
#[test]
fn every_radius_is_right() {
    for top in 0..1u32 << 24 {
        let word = top << 8 | 0xa5;
        let want = (-2.0 * uniform(word).ln()).sqrt();
        let difference = (f64::from(radius(word)) - want).abs();
        assert!(difference <= 1e-7 * want, "{top:#x}: got {}, want {want}", radius(word));
    }
}

/// Every possible direction has an absolute error below 1e-7.
#[test]
fn every_direction_is_right() {
    for top in 0..1u32 << 24 {
        let word = top << 8 | 0x5a;
        let angle = 2.0 * PI * uniform(word);
        let [cosine, sine] = cos_sin(word);
        assert!((f64::from(cosine) - angle.cos()).abs() <= 1e-7, "{top:#x}: cos {cosine}");
        assert!((f64::from(sine) - angle.sin()).abs() <= 1e-7, "{top:#x}: sin {sine}");
    }
}

/// The absolute error is the one that `normal_pair` documents. The cases include the largest radii.
#[test]
fn normals_are_box_mullers() {
    let words = |block| philox4x32_10([block, 0, 0, 0], [7, 0]);
    for block in 0..500_000 {
        let [first, second, third, fourth] = words(block);
        for (radius_word, angle_word) in [(first, second), (third, fourth), (first >> 18, second)] {
            let radius = (-2.0 * uniform(radius_word).ln()).sqrt();
            let angle = 2.0 * PI * uniform(angle_word);
            let got = normal_pair(radius_word, angle_word);
            for (got, want) in got.into_iter().zip([radius * angle.cos(), radius * angle.sin()]) {
                assert!((f64::from(got) - want).abs() <= 1.1e-6, "{radius_word:#x} {angle_word:#x}: {got} {want}");
            }
        }
    }
}

/// Returns a million draws of one sample.
fn million(seed: u64, sample: u32, step: u32, stream: Stream) -> Vec<f64> {
    let mut values = vec![0.0; 1_000_000];
    fill(seed, sample, step, stream, &mut values);
    values.into_iter().map(f64::from).collect()
}

/// Each statistic of a million draws is within 4.5 standard deviations.
#[test]
fn moments_and_tails_are_a_normals() {
    let values = million(2024, 0, 3, Stream::Step);
    let n = values.len() as f64;
    let moment = |power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>() / n;
    let share = |beyond: f64| values.iter().filter(|value| value.abs() > beyond).count() as f64 / n;
    let cases = [
        ("mean", moment(1), 0.0, 1.0),
        ("second moment", moment(2), 1.0, 2.0),
        ("third moment", moment(3), 0.0, 15.0),
        ("fourth moment", moment(4), 3.0, 96.0),
        ("beyond 1", share(1.0), 0.317_310_507_9, 0.2166),
        ("beyond 2", share(2.0), 0.045_500_263_9, 0.0434),
        ("beyond 3", share(3.0), 0.002_699_796_1, 0.0026925),
        ("beyond 4", share(4.0), 0.000_063_342_5, 0.0000633),
    ];
    for (name, got, want, variance) in cases {
        let bound = 4.5 * f64::sqrt(variance / n);
        assert!((got - want).abs() <= bound, "{name}: got {got}, want {want} +- {bound}");
    }
}

/// Tests correlations between everything that could be mixed up: neighbours within a block, samples, steps,
/// streams, seeds (in either word), and the squares of a pair, which share a radius.
#[test]
fn nothing_is_correlated() {
    let base = million(1, 5, 2, Stream::Step);
    let shifted = |by: usize| base.iter().copied().cycle().skip(by).take(base.len()).collect::<Vec<f64>>();
    let others = [
        ("next element", shifted(1)),
        ("element after", shifted(2)),
        ("third element on", shifted(3)),
        ("next block", shifted(4)),
        ("next sample", million(1, 6, 2, Stream::Step)),
        ("next step", million(1, 5, 3, Stream::Step)),
        ("start", million(1, 5, 2, Stream::Start)),
        ("next seed", million(2, 5, 2, Stream::Step)),
        ("high word of the seed", million(1 | 1 << 32, 5, 2, Stream::Step)),
        ("sample and step exchanged", million(1, 2, 5, Stream::Step)),
    ];
    for (name, other) in others {
        for (power, variance) in [(1, 1.0f64), (2, 4.0)] {
            let mean = if power == 2 { 1.0 } else { 0.0 };
            let products = base.iter().zip(&other).map(|(a, b)| (a.powi(power) - mean) * (b.powi(power) - mean));
            let covariance = products.sum::<f64>() / base.len() as f64;
            let bound = 4.5 * variance / (base.len() as f64).sqrt();
            assert!(covariance.abs() <= bound, "{name}, power {power}: {covariance} +- {bound}");
        }
    }
}

/// Runs the kernel's twin.
fn run(kernel: Noise, state: [u32; 4]) -> Vec<f32> {
    let mut output = vec![0u32; kernel.batch * kernel.sample_elements()];
    percept::reference::run(&Kernel::from(kernel), Reads::new(&[&state]), &mut [&mut output]);
    output.into_iter().map(f32::from_bits).collect()
}

#[test]
fn the_kernel_counts_as_it_says() {
    // 5 * 3 * 3 = 45 elements: a sample does not end with a block.
    let kernel = |batch, stream| Noise { batch, sample: [5, 3, 3], stream };
    let seed = 0x0123_4567_89ab_cdef;
    for (stream, k) in [(Stream::Start, 0), (Stream::Step, 17)] {
        let got = run(kernel(3, stream), state(17, 40, seed));
        for (at, &got) in got.iter().enumerate() {
            let (n, i) = (at / 45, at % 45);
            let counter = [i as u32 / 4, 40 + n as u32, k, stream.number()];
            assert_eq!(got, normals(counter, [0x89ab_cdef, 0x0123_4567])[i % 4], "{stream:?} {n} {i}");
        }
        // A sample does not depend on the others of its batch.
        let alone = run(kernel(1, stream), state(17, 42, seed));
        assert_eq!(alone, got[2 * 45..]);
        let mut filled = vec![0.0; 45];
        fill(seed, 42, 17, stream, &mut filled);
        assert_eq!(filled, alone);
    }
    assert_eq!((Stream::Start.number(), Stream::Step.number()), (0, 1));
}

/// A seed guarantees its noise: these bits change only with a major version.
#[test]
fn a_seed_keeps_its_noise() {
    let mut got = [0.0; 4];
    fill(42, 0, 0, Stream::Start, &mut got);
    assert_eq!(got.map(f32::to_bits), [0xbf78_5e5b, 0x3e46_ace0, 0xbf9e_28d1, 0x3ff6_433d]);
}
