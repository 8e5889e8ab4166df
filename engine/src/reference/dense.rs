//! Twin of `dense`.

use super::conv::CHUNK;
use crate::kernels::{Dense, Reads, Writes};

/// Runs [`Dense`].
pub(super) fn run(p: &Dense, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let reads = p.reads(reads);
    for (r, output) in output.chunks_exact_mut(p.out_features).enumerate() {
        let source = &reads.source[r * p.in_features..(r + 1) * p.in_features];
        for (chunk, output) in output.chunks_mut(CHUNK).enumerate() {
            let first = chunk * CHUNK;
            let mut sums = [0.0f64; CHUNK];
            for (k, &x) in source.iter().enumerate() {
                for (o, sum) in sums[..output.len()].iter_mut().enumerate() {
                    *sum += f64::from(x) * f64::from(reads.weight.at(k * p.out_features + first + o));
                }
            }
            for (o, (out, mut sum)) in (first..).zip(output.iter_mut().zip(sums)) {
                if let Some(bias) = reads.bias {
                    sum += f64::from(bias[o]);
                }
                if let Some(residual) = reads.residual {
                    sum += f64::from(residual[r * p.out_features + o]);
                }
                *out = p.activation.of(sum as f32);
            }
        }
    }
}
