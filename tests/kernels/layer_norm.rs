//! Tests `layer_norm`: before gain and bias, the twin's rows have mean 0 and a variance of 1 except for eps.

use percept::kernels::LayerNorm;
use percept::kernels::Parameters;
use percept_tests::{Bound, Case, SplitMix, assert_close};

const EPS: f32 = 1e-6;

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one token and many, one channel, odd numbers, sizes around sixteen lanes and a workgroup,
/// and parts of the tokens.
pub fn cases() -> Vec<LayerNorm> {
    let new = |[batch, tokens, channels]: [usize; 3]| LayerNorm {
        batch,
        tokens,
        first: 0,
        count: tokens,
        channels,
        eps: EPS,
    };
    let mut cases = vec![
        new([1, 1, 1]),
        new([3, 4, 1]),
        new([1, 1, 5]),
        new([2, 33, 7]),
        LayerNorm { first: 0, count: 1, ..new([3, 5, 6]) },
        LayerNorm { first: 2, count: 3, ..new([3, 5, 6]) },
        LayerNorm { first: 1, count: 31, ..new([2, 33, 9]) },
        LayerNorm { eps: 0.5, ..new([2, 3, 8]) },
        new([1, 2, 1024]),
    ];
    for edge in [16, 32, 256] {
        cases.extend([edge - 1, edge, edge + 1].map(|channels| new([2, 3, channels])));
    }
    cases.extend([31, 32, 33, 65].map(|tokens| new([1, tokens, 12])));
    cases
}

/// Creates inputs in which every token has its own mean and spread.
pub fn inputs(p: LayerNorm, seed: u64) -> Case {
    let mut random = SplitMix::new(seed ^ 0x5eed);
    let tokens = p.batch * p.tokens;
    let shapes: Vec<(f32, f32)> = (0..tokens).map(|_| (3.0 * random.float(), 1.5 + random.float())).collect();
    let value = |i: usize| shapes[i / p.channels].0 + shapes[i / p.channels].1 * random.float();
    let source: Vec<f32> = (0..tokens * p.channels).map(value).collect();
    let mut case = Case::random(p, seed);
    case.set("source", &source);
    case
}

/// Creates a random case.
pub fn random(mut upto: impl FnMut(usize) -> usize, seed: u64) -> Case {
    let (batch, tokens, channels) = (upto(3), upto(40), upto(300));
    let first = upto(tokens) - 1;
    let count = upto(tokens - first);
    inputs(LayerNorm { batch, tokens, first, count, channels, eps: EPS }, seed)
}

#[test]
fn the_twins_tokens_are_normalised() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("norm").expect("a case that is a layer norm");
        let case = inputs(p.clone(), seed as u64);
        let tokens: Vec<&[f32]> = case.floats("source").chunks(p.channels).collect();
        let mut want = Vec::new();
        for sample in tokens.chunks(p.tokens) {
            for token in &sample[p.first..p.first + p.count] {
                let values: Vec<f64> = token.iter().map(|&x| f64::from(x)).collect();
                let channels = p.channels as f64;
                let mean = values.iter().sum::<f64>() / channels;
                // The variance as half the mean square of all pairwise differences.
                let pairs = values.iter().flat_map(|a| values.iter().map(move |b| (a - b).powi(2)));
                let variance = pairs.sum::<f64>() / (2.0 * channels * channels);
                let rows = case.floats("gamma").iter().zip(case.floats("beta"));
                want.extend(values.iter().zip(rows).map(|(x, (&gamma, &beta))| {
                    (x - mean) / (variance + f64::from(p.eps)).sqrt() * f64::from(gamma) + f64::from(beta)
                }));
            }
        }
        assert_close(&case.name(), &case.twin(), &want, Bound::F32);
    }
}

#[test]
fn by_hand() {
    let p = LayerNorm { batch: 1, tokens: 3, first: 1, count: 2, channels: 2, eps: 0.0 };
    let mut case = Case::random(p, 0);
    case.set("source", &[9.0, 9.0, 1.0, 5.0, 1000.0, -1000.0]);
    case.set("gamma", &[2.0, 3.0]);
    case.set("beta", &[10.0, 20.0]);
    assert_eq!(case.twin(), [8.0, 23.0, 12.0, 17.0]);
}

#[test]
fn a_spread_beside_a_large_mean_is_kept() {
    let mut case = Case::random(LayerNorm { batch: 1, tokens: 1, first: 0, count: 1, channels: 2, eps: 0.0 }, 0);
    case.set("source", &[16_000_000.0, 16_000_002.0]);
    case.set("gamma", &[1.0, 1.0]);
    case.set("beta", &[0.0, 0.0]);
    assert_eq!(case.twin(), [-1.0, 1.0]);
}

#[test]
fn what_is_no_layer_norm_is_refused() {
    let good = cases().remove(5);
    for bad in [
        LayerNorm { batch: 0, ..good.clone() },
        LayerNorm { channels: 0, ..good.clone() },
        LayerNorm { count: 0, ..good.clone() },
        LayerNorm { count: 4, ..good.clone() },
        LayerNorm { first: usize::MAX, ..good.clone() },
        LayerNorm { tokens: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("norm"), "norm");
    }
}
