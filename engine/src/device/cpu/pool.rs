//! `avg_pool` and `max_pool`, which process all channels of a pixel at once.

use rayon::prelude::*;

use super::simd::{Loop, add_row, load_pixel, vectorized};
use super::{Scratch, Threads};
use crate::kernels::avg_pool::AvgPoolReads;
use crate::kernels::{AvgPool, MaxPool, Reads};

/// Returns the scratch that a run needs: a loaded pixel, and the sum of one row of a window.
pub(super) fn scratch(p: &AvgPool) -> Scratch {
    Scratch { tile: 2 * p.channels, ..Scratch::default() }
}

/// Runs [`AvgPool`].
pub(super) fn avg_pool(p: &AvgPool, reads: Reads<'_>, output: &mut [f32], threads: &Threads) {
    let reads = &p.reads(reads);
    let [_, out_w] = p.out_size();
    output.par_chunks_mut(out_w * p.channels).enumerate().for_each(|(line, output)| {
        threads.with_tile(|tile| {
            let (loaded, row) = tile[..2 * p.channels].split_at_mut(p.channels);
            vectorized(AverageLine { p, reads, line, loaded, row, output });
        });
    });
}

struct AverageLine<'a> {
    p: &'a AvgPool,
    reads: &'a AvgPoolReads<'a>,
    /// The line of the output, counted over all samples.
    line: usize,
    /// The loaded pixel.
    loaded: &'a mut [f32],
    /// The sum of one row of the window. Rows are summed separately, so that a large window loses no accuracy.
    row: &'a mut [f32],
    output: &'a mut [f32],
}

impl Loop for AverageLine<'_> {
    #[inline(always)]
    fn run(self) {
        let AverageLine { p, reads, line, loaded, row, output } = self;
        let [out_h, _] = p.out_size();
        let [kernel_h, kernel_w] = p.kernel;
        let (n, out_y) = (line / out_h, line % out_h);
        output.fill(0.0);
        for (out_x, sums) in output.chunks_exact_mut(p.channels).enumerate() {
            for y in out_y * kernel_h..(out_y + 1) * kernel_h {
                row.fill(0.0);
                for x in out_x * kernel_w..(out_x + 1) * kernel_w {
                    let pixel = (n * p.height + y) * p.width + x;
                    loaded.copy_from_slice(&reads.source[pixel * p.channels..][..p.channels]);
                    load_pixel(p.load, reads.rows, n, loaded);
                    add_row(row, loaded);
                }
                add_row(sums, row);
            }
            sums.iter_mut().for_each(|sum| *sum /= (kernel_h * kernel_w) as f32);
        }
    }
}

/// Runs [`MaxPool`].
pub(super) fn max_pool(p: &MaxPool, reads: Reads<'_>, output: &mut [f32]) {
    let source = p.reads(reads).source;
    let [_, out_w] = p.out_size();
    output.par_chunks_mut(out_w * p.channels).enumerate().for_each(|(line, output)| {
        vectorized(MaximumLine { p, source, line, output });
    });
}

struct MaximumLine<'a> {
    p: &'a MaxPool,
    source: &'a [f32],
    /// The line of the output, counted over all samples.
    line: usize,
    output: &'a mut [f32],
}

impl Loop for MaximumLine<'_> {
    #[inline(always)]
    fn run(self) {
        let MaximumLine { p, source, line, output } = self;
        let [out_h, _] = p.out_size();
        let (n, out_y) = (line / out_h, line % out_h);
        output.fill(f32::NEG_INFINITY);
        for (out_x, largest) in output.chunks_exact_mut(p.channels).enumerate() {
            for tap in 0..p.kernel[0] * p.kernel[1] {
                // A negative coordinate wraps to far outside the image.
                let y = (out_y * p.stride + tap / p.kernel[1]).wrapping_sub(p.padding);
                let x = (out_x * p.stride + tap % p.kernel[1]).wrapping_sub(p.padding);
                if y < p.height && x < p.width {
                    let pixel = &source[((n * p.height + y) * p.width + x) * p.channels..][..p.channels];
                    for (largest, &v) in largest.iter_mut().zip(pixel) {
                        // Comparisons with NaN are false, so a NaN replaces the maximum and stays.
                        *largest = if v > *largest || v.is_nan() { v } else { *largest };
                    }
                }
            }
        }
    }
}
