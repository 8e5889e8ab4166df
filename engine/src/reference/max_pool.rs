//! Twin of `max_pool`.

use crate::kernels::{MaxPool, Reads, Writes};

/// Runs [`MaxPool`].
pub(super) fn run(p: &MaxPool, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let source = p.reads(reads).source;
    let [out_h, out_w] = p.out_size();
    for (i, out) in output.iter_mut().enumerate() {
        let c = i % p.channels;
        let x = i / p.channels % out_w;
        let y = i / p.channels / out_w % out_h;
        let n = i / p.channels / out_w / out_h;
        let mut largest = f32::NEG_INFINITY;
        for ky in 0..p.kernel[0] {
            for kx in 0..p.kernel[1] {
                // Coordinates in the padded image, whose first `padding` rows and columns are not stored.
                let (py, px) = (y * p.stride + ky, x * p.stride + kx);
                let inside =
                    (p.padding..p.padding + p.height).contains(&py) && (p.padding..p.padding + p.width).contains(&px);
                if inside {
                    let pixel = (n * p.height + py - p.padding) * p.width + px - p.padding;
                    let v = source[pixel * p.channels + c];
                    // No comparison with NaN is true, so NaN wins and stays.
                    if v > largest || v.is_nan() {
                        largest = v;
                    }
                }
            }
        }
        *out = largest;
    }
}
