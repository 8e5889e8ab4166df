//! Twin of `resize_bilinear`.

use crate::kernels::{Reads, ResizeBilinear, Writes};

/// Runs [`ResizeBilinear`].
pub(super) fn run(p: &ResizeBilinear, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
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

/// Returns the two source pixels between whose centres pixel `p` of the result lies, and the weight of the second. The
/// side has `size` pixels in the source and `out` in the result.
///
/// The position, `(p + 1/2) size / out - 1/2`, is counted in whole units of `1 / (2 out)`, so it is exact.
fn neighbours(p: usize, size: usize, out: usize) -> ([usize; 2], f64) {
    let parts = ((2 * p + 1) * size).saturating_sub(out);
    let first = parts / (2 * out);
    ([first, (first + 1).min(size - 1)], (parts % (2 * out)) as f64 / (2 * out) as f64)
}
