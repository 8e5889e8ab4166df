//! Twin of `resize_bilinear`.

use crate::kernels::{Reads, ResizeBilinear};

/// See [`ResizeBilinear`].
pub(super) fn resize_bilinear(p: &ResizeBilinear, reads: Reads<'_>, output: &mut [f32]) {
    let buffers = p.reads(reads);
    let value = |n: usize, y: usize, x: usize, c: usize| -> f64 {
        f64::from(buffers.source[((n * p.height + y) * p.width + x) * p.channels + c])
    };
    for (i, out) in output.iter_mut().enumerate() {
        let c = i % p.channels;
        let x = i / p.channels % p.out_width;
        let y = i / p.channels / p.out_width % p.out_height;
        let n = i / p.channels / p.out_width / p.out_height;
        let ([top, bottom], down) = neighbours(y, p.height, p.out_height);
        let ([left, right], across) = neighbours(x, p.width, p.out_width);
        let above = (1.0 - across) * value(n, top, left, c) + across * value(n, top, right, c);
        let below = (1.0 - across) * value(n, bottom, left, c) + across * value(n, bottom, right, c);
        *out = ((1.0 - down) * above + down * below) as f32;
    }
}

/// The two pixels of a side of `size` between whose centres pixel `p` of the resized side of `out` lies, and the second's
/// share. The place, `(p + 1/2) size / out - 1/2`, is counted in whole parts of `1 / (2 out)`, so that it is exact.
fn neighbours(p: usize, size: usize, out: usize) -> ([usize; 2], f64) {
    let parts = ((2 * p + 1) * size).saturating_sub(out);
    let first = parts / (2 * out);
    ([first, (first + 1).min(size - 1)], (parts % (2 * out)) as f64 / (2 * out) as f64)
}
