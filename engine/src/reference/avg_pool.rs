//! Twin of `avg_pool`.

use crate::kernels::{AvgPool, Load, Reads, Writes};

/// Runs [`AvgPool`].
pub(super) fn run(p: &AvgPool, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let buffers = p.reads(reads);
    let [out_h, out_w] = p.out_size();
    let [kernel_h, kernel_w] = p.kernel;

    let value = |n: usize, y: usize, x: usize, c: usize| -> f32 {
        let v = buffers.source[((n * p.height + y) * p.width + x) * p.channels + c];
        match (p.load, buffers.rows) {
            (Load::Affine { rows, activation }, Some(all)) => {
                let row = rows.of(all, n, 2 * p.channels);
                activation.of(v * row[c] + row[p.channels + c])
            }
            _ => v,
        }
    };

    for (i, out) in output.iter_mut().enumerate() {
        let c = i % p.channels;
        let x = i / p.channels % out_w;
        let y = i / p.channels / out_w % out_h;
        let n = i / p.channels / out_w / out_h;
        let mut sum = 0.0f64;
        for ky in 0..kernel_h {
            for kx in 0..kernel_w {
                sum += f64::from(value(n, y * kernel_h + ky, x * kernel_w + kx, c));
            }
        }
        *out = (sum / (kernel_h * kernel_w) as f64) as f32;
    }
}
