//! `avg_pool` and `max_pool`, a pixel's channels at a time.

use rayon::prelude::*;

use super::simd::ARCH;
use super::{Scratch, Threads};
use crate::kernels::{AvgPool, Load, MaxPool, Reads};

/// What a run needs beside the op's buffers: a pixel as it is loaded.
pub(super) fn scratch(p: &AvgPool) -> Scratch {
    Scratch { tile: p.channels, ..Scratch::default() }
}

/// See [`AvgPool`].
pub(super) fn avg_pool(p: &AvgPool, reads: Reads<'_>, output: &mut [f32], threads: &Threads) {
    let reads = p.reads(reads);
    let [out_h, out_w] = p.out_size();
    let [kernel_h, kernel_w] = p.kernel;
    let channels = p.channels;
    output.par_chunks_mut(out_w * channels).enumerate().for_each(|(line, output)| {
        let (n, out_y) = (line / out_h, line % out_h);
        threads.with_tile(|loaded| {
            let loaded = &mut loaded[..channels];
            ARCH.dispatch(|| {
                output.fill(0.0);
                for (out_x, sums) in output.chunks_exact_mut(channels).enumerate() {
                    for tap in 0..kernel_h * kernel_w {
                        let (y, x) = (out_y * kernel_h + tap / kernel_w, out_x * kernel_w + tap % kernel_w);
                        let pixel = &reads.source[((n * p.height + y) * p.width + x) * channels..][..channels];
                        loaded.copy_from_slice(pixel);
                        if let (Load::Affine { rows, activation }, Some(all)) = (p.load, reads.rows) {
                            let (scale, shift) = rows.of(all, n, 2 * channels).split_at(channels);
                            for ((value, scale), shift) in loaded.iter_mut().zip(scale).zip(shift) {
                                *value = value.mul_add(*scale, *shift);
                            }
                            activation.apply(loaded);
                        }
                        sums.iter_mut().zip(&*loaded).for_each(|(sum, x)| *sum += x);
                    }
                    sums.iter_mut().for_each(|sum| *sum /= (kernel_h * kernel_w) as f32);
                }
            });
        });
    });
}

/// See [`MaxPool`].
pub(super) fn max_pool(p: &MaxPool, reads: Reads<'_>, output: &mut [f32]) {
    let source = p.reads(reads).source;
    let [out_h, out_w] = p.out_size();
    output.par_chunks_mut(out_w * p.channels).enumerate().for_each(|(line, output)| {
        let (n, out_y) = (line / out_h, line % out_h);
        ARCH.dispatch(|| {
            output.fill(f32::NEG_INFINITY);
            for (out_x, largest) in output.chunks_exact_mut(p.channels).enumerate() {
                for tap in 0..p.kernel[0] * p.kernel[1] {
                    // Below zero wraps to far beyond the image.
                    let y = (out_y * p.stride + tap / p.kernel[1]).wrapping_sub(p.padding);
                    let x = (out_x * p.stride + tap % p.kernel[1]).wrapping_sub(p.padding);
                    if y < p.height && x < p.width {
                        let pixel = &source[((n * p.height + y) * p.width + x) * p.channels..][..p.channels];
                        for (largest, &v) in largest.iter_mut().zip(pixel) {
                            // No comparison with NaN is true: it wins, and stays.
                            *largest = if v > *largest || v.is_nan() { v } else { *largest };
                        }
                    }
                }
            }
        });
    });
}
