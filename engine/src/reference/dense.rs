//! Twin of `dense`.

use crate::kernels::{Dense, Reads};

/// See [`Dense`].
pub(super) fn dense(p: &Dense, reads: Reads<'_>, output: &mut [f32]) {
    let buffers = p.reads(reads);
    for (i, out) in output.iter_mut().enumerate() {
        let (r, o) = (i / p.out_features, i % p.out_features);
        let row = &buffers.source[r * p.in_features..(r + 1) * p.in_features];
        let mut sum = 0.0f64;
        for (k, &x) in row.iter().enumerate() {
            sum += f64::from(x) * f64::from(buffers.weight[k * p.out_features + o]);
        }
        if let Some(bias) = buffers.bias {
            sum += f64::from(bias[o]);
        }
        if let Some(residual) = buffers.residual {
            sum += f64::from(residual[i]);
        }
        *out = p.activation.of(sum as f32);
    }
}
