//! Twin of `attention`.

use crate::kernels::{Attention, Reads, Writes};

/// The number of channels that are summed together, so that the scores are not computed again for each one.
const CHUNK: usize = 64;

/// Runs [`Attention`]. Each of the three passes computes the scores again, because there is no room to
/// store them.
pub(super) fn run(p: &Attention, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let qkv = p.reads(reads).qkv;
    let (tokens, d) = (p.tokens(), p.head_channels);
    let scale = 1.0 / libm::sqrt(libm::sqrt(d as f64));

    for (i, out) in output.chunks_exact_mut(d).enumerate() {
        let head = i % p.heads;
        let query = i / p.heads % tokens;
        let n = i / p.heads / tokens;
        let [q_offset, k_offset, v_offset] = p.offsets(head);
        let part = |token: usize, offset: usize| {
            let start = (n * tokens + token) * 3 * p.channels() + offset;
            &qkv[start..start + d]
        };
        let score = |key: usize| -> f64 {
            let pairs = part(query, q_offset).iter().zip(part(key, k_offset));
            pairs.map(|(&q, &k)| (f64::from(q) * scale) * (f64::from(k) * scale)).sum()
        };

        let largest = (0..tokens).map(score).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = (0..tokens).map(|key| libm::exp(score(key) - largest)).sum();
        for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
            let mut sums = [0.0f64; CHUNK];
            for key in 0..tokens {
                let weight = libm::exp(score(key) - largest) / total;
                let values = &part(key, v_offset)[chunk * CHUNK..];
                for (sum, &v) in sums.iter_mut().zip(values) {
                    *sum += weight * f64::from(v);
                }
            }
            for (out, &sum) in out.iter_mut().zip(&sums) {
                *out = sum as f32;
            }
        }
    }
}
