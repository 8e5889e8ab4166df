//! Tests `attention`: the twin against products of whole matrices, `softmax(Q K^T / sqrt d) V` for each head.

use percept::kernels::Parameters;
use percept::kernels::{Attention, QkvOrder};
use percept_tests::{Bound, Case, assert_close};

const ORDERS: [QkvOrder; 2] = [QkvOrder::HeadsFirst, QkvOrder::QkvFirst];

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one token, one channel, odd sizes, several heads, and sizes around the tiles of tokens
/// and of channels, in both orders.
pub fn cases() -> Vec<Attention> {
    let mut sizes = vec![
        ([1, 1, 1], [1, 1]),
        ([1, 1, 1], [2, 3]),
        ([2, 3, 3], [1, 5]),
        ([2, 3, 5], [3, 4]),
        ([3, 7, 1], [2, 8]),
        ([1, 3, 2], [2, 63]),
        ([1, 3, 2], [2, 64]),
        ([1, 3, 2], [2, 65]),
        ([1, 2, 2], [1, 130]),
        ([1, 16, 16], [1, 8]),
    ];
    sizes.extend([15, 16, 17, 31, 33, 63, 64, 65].map(|tokens| ([2, tokens, 1], [2, 6])));
    let cases = |order| {
        let new = move |([batch, height, width], [heads, head_channels]): ([usize; 3], [usize; 2])| Attention {
            batch,
            height,
            width,
            heads,
            head_channels,
            order,
        };
        sizes.clone().into_iter().map(new)
    };
    ORDERS.into_iter().flat_map(cases).collect()
}

/// Creates inputs four times as large as usual, so that the weights of the keys are far from equal.
pub fn inputs(p: Attention, seed: u64) -> Case {
    let mut case = Case::random(p, seed);
    let qkv: Vec<f32> = case.floats("qkv").iter().map(|v| 4.0 * v).collect();
    case.set("qkv", &qkv);
    case
}

/// A matrix as a list of rows.
type Matrix = Vec<Vec<f64>>;

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let column = |j: usize| b.iter().map(move |row| row[j]);
    let dot = |row: &Vec<f64>, j| row.iter().zip(column(j)).map(|(x, y)| x * y).sum();
    a.iter().map(|row| (0..b[0].len()).map(|j| dot(row, j)).collect()).collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

fn softmax(row: Vec<f64>) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = row.iter().map(|v| (v - largest).exp()).sum();
    row.iter().map(|v| (v - largest).exp() / total).collect()
}

/// Returns `[q, k, v][head]` of one sample, each `[tokens, head_channels]`.
fn split(p: &Attention, sample: &[f32]) -> [Vec<Matrix>; 3] {
    let (heads, d) = (p.heads, p.head_channels);
    [0, 1, 2].map(|part| {
        (0..heads)
            .map(|head| {
                let tokens = sample.chunks(3 * heads * d);
                let row = |pixel: &[f32]| -> Vec<f64> {
                    let row = match p.order {
                        QkvOrder::HeadsFirst => pixel.chunks(3 * d).nth(head).and_then(|h| h.chunks(d).nth(part)),
                        QkvOrder::QkvFirst => pixel.chunks(heads * d).nth(part).and_then(|q| q.chunks(d).nth(head)),
                    };
                    row.expect("every part of every head").iter().map(|&v| f64::from(v)).collect()
                };
                tokens.map(row).collect()
            })
            .collect()
    })
}

fn truth(p: &Attention, case: &Case) -> Vec<f64> {
    let mut result = Vec::new();
    for sample in case.floats("qkv").chunks(3 * p.height * p.width * p.heads * p.head_channels) {
        let [q, k, v] = split(p, sample);
        let heads: Vec<Matrix> = (0..p.heads)
            .map(|head| {
                let root = (p.head_channels as f64).sqrt();
                let scores = product(&q[head], &transposed(&k[head]));
                let weights =
                    scores.into_iter().map(|row| softmax(row.into_iter().map(|s| s / root).collect())).collect();
                product(&weights, &v[head])
            })
            .collect();
        for token in 0..p.height * p.width {
            result.extend(heads.iter().flat_map(|head| head[token].clone()));
        }
    }
    result
}

#[test]
fn the_twin_is_the_product_of_matrices() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("attention").expect("a case that is an attention");
        let case = inputs(p.clone(), seed as u64);
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::F32);
    }
}

#[test]
fn one_token_sees_itself() {
    let p = Attention { batch: 2, height: 1, width: 1, heads: 2, head_channels: 1, order: QkvOrder::HeadsFirst };
    let mut case = Case::random(p.clone(), 0);
    case.set("qkv", &[9.0, 8.0, 1.0, 7.0, 6.0, 2.0, 5.0, 4.0, 3.0, 3.0, 2.0, 4.0]);
    assert_eq!(case.twin(), [1.0, 2.0, 3.0, 4.0]);
    case.kernel = Attention { order: QkvOrder::QkvFirst, ..p }.into();
    assert_eq!(case.twin(), [6.0, 2.0, 2.0, 4.0]);
}

#[test]
fn equal_keys_give_the_mean_and_a_factor_of_two_its_share() {
    let p = Attention { batch: 1, height: 2, width: 1, heads: 1, head_channels: 4, order: QkvOrder::QkvFirst };
    let mut case = Case::random(p, 0);
    // Scores of the first query: 2 ln 2 / sqrt(4) = ln 2 and 0; of the second: 0 and 0.
    let q = 2.0 * std::f32::consts::LN_2;
    #[rustfmt::skip]
    case.set("qkv", &[
        q, 0.0, 0.0, 0.0,    1.0, 0.0, 0.0, 5.0,    3.0, 6.0, 0.0, -3.0,
        0.0, 0.0, 0.0, 0.0,  0.0, 0.0, 9.0, 5.0,    0.0, 3.0, 9.0, 3.0,
    ]);
    let want = [2.0, 5.0, 3.0, -1.0, 1.5, 4.5, 4.5, 0.0];
    assert_close("shares", &case.twin(), &want, Bound::F32);
}

#[test]
fn scores_beyond_the_exponentials_range_choose_the_largest() {
    let p = Attention { batch: 1, height: 1, width: 3, heads: 1, head_channels: 1, order: QkvOrder::HeadsFirst };
    let mut case = Case::random(p, 0);
    for sign in [1.0, -1.0] {
        // Scores of +-10 000 times the key.
        case.set("qkv", &[1e4, sign, 10.0, 1e4, sign * 2.0, 20.0, 1e4, sign * 1.5, 30.0]);
        let want = if sign > 0.0 { 20.0 } else { 10.0 };
        assert_eq!(case.twin(), [want; 3]);
    }
}

#[test]
fn what_is_no_attention_is_refused() {
    let good = cases().remove(3);
    for bad in [
        Attention { batch: 0, ..good.clone() },
        Attention { width: 0, ..good.clone() },
        Attention { heads: 0, ..good.clone() },
        Attention { head_channels: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("attention"), "attention");
    }
}
