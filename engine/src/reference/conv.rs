//! Twin of `conv`.

use crate::kernels::{Conv, Load, Reads};

/// See [`Conv`].
pub(super) fn conv(p: &Conv, reads: Reads<'_>, output: &mut [f32]) {
    let buffers = p.reads(reads);
    let [out_h, out_w] = p.out_size();
    let [first, second] = p.in_channels;

    // The value at (n, y, x, c) of the enlarged image; zero outside of it.
    let value = |n: usize, y: isize, x: isize, c: usize| -> f32 {
        let (height, width) = ((p.height * p.upsample) as isize, (p.width * p.upsample) as isize);
        if y < 0 || x < 0 || y >= height || x >= width {
            return 0.0;
        }
        let pixel = (n * p.height + y as usize / p.upsample) * p.width + x as usize / p.upsample;
        let v = match buffers.second {
            Some(other) if c >= first => other[pixel * second + c - first],
            _ => buffers.source[pixel * first + c],
        };
        match (p.load, buffers.rows) {
            (Load::Affine { rows, activation }, Some(all)) => {
                let row = rows.of(all, n, 2 * p.channels());
                activation.of(v * row[c] + row[p.channels() + c])
            }
            _ => v,
        }
    };

    for (i, out) in output.iter_mut().enumerate() {
        let o = i % p.out_channels;
        let x = i / p.out_channels % out_w;
        let y = i / p.out_channels / out_w % out_h;
        let n = i / p.out_channels / out_w / out_h;
        let mut sum = 0.0f64;
        for ky in 0..p.kernel[0] {
            for kx in 0..p.kernel[1] {
                for c in 0..p.channels() {
                    let row = (ky * p.kernel[1] + kx) * p.channels() + c;
                    let v = value(
                        n,
                        (y * p.stride + ky) as isize - p.padding as isize,
                        (x * p.stride + kx) as isize - p.padding as isize,
                        c,
                    );
                    sum += f64::from(v) * f64::from(buffers.weight[row * p.out_channels + o]);
                }
            }
        }
        if let Some(bias) = buffers.bias {
            sum += f64::from(bias[o]);
        }
        if let (Some(slice), Some(rows)) = (p.add, buffers.add) {
            sum += f64::from(slice.of(rows, n, p.out_channels)[o]);
        }
        if let (Some(enlarged), Some(residual)) = (p.residual, buffers.residual) {
            let pixel = (n * (out_h / enlarged) + y / enlarged) * (out_w / enlarged) + x / enlarged;
            sum += f64::from(residual[pixel * p.out_channels + o]);
        }
        *out = p.activation.of(sum as f32);
    }
}
