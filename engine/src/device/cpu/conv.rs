//! `conv` as an implicit matrix product of windows and weights. The windows are gathered tile by tile.

use rayon::prelude::*;

use super::matmul::{Blocks, KC, matmul, widened_len};
use super::simd::{Loop, add_row, load_pixel, vectorized};
use super::{Scratch, Threads};
use crate::kernels::conv::ConvReads;
use crate::kernels::{Conv, Load, Reads};

/// The number of `f32`s that accumulators and loaded sources may take at once, unless a single sample needs more.
const IN_FLIGHT: usize = 16 << 20;

/// Returns the number of samples that are computed together.
fn group(p: &Conv) -> usize {
    let [out_h, out_w] = p.out_size();
    let per_sample = p.height * p.width * p.channels() + out_h * out_w * p.out_channels;
    (IN_FLIGHT / per_sample).clamp(1, p.batch)
}

/// Returns true if the sources are loaded into a buffer first, so that elementwise operations run once per value and
/// not once per tap.
fn needs_loading(p: &Conv) -> bool {
    p.load != Load::Plain || p.in_channels[1] > 0
}

fn blocks(p: &Conv, samples: usize, threads: usize) -> Blocks {
    let [out_h, out_w] = p.out_size();
    Blocks::new(samples * out_h * out_w, p.out_channels, p.depth(), threads)
}

/// Returns the scratch that a run needs.
pub(super) fn scratch(p: &Conv, threads: usize) -> Scratch {
    let loaded = if needs_loading(p) { group(p) * p.height * p.width * p.channels() } else { 0 };
    Scratch { accumulators: blocks(p, group(p), threads).accumulators(), loaded, tile: super::TILE + widened_len() }
}

/// Runs [`Conv`].
pub(super) fn conv(
    p: &Conv,
    reads: Reads<'_>,
    output: &mut [f32],
    threads: &Threads,
    accumulators: &mut [f32],
    loaded: &mut [f32],
) {
    let reads = p.reads(reads);
    let [out_h, out_w] = p.out_size();
    for (group_index, output) in output.chunks_mut(group(p) * out_h * out_w * p.out_channels).enumerate() {
        let first = group_index * group(p);
        let samples = output.len() / (out_h * out_w * p.out_channels);
        let blocks = blocks(p, samples, threads.count());
        let source = if needs_loading(p) {
            let loaded = &mut loaded[..samples * p.height * p.width * p.channels()];
            load(p, &reads, first, loaded);
            loaded
        } else {
            let sample = p.height * p.width * p.in_channels[0];
            &reads.source[first * sample..(first + samples) * sample]
        };
        matmul(threads, blocks, reads.weight, accumulators, |row, k, terms, tile| {
            gather(p, source, row, k, terms, tile)
        });
        store(p, &reads, first, blocks, accumulators, output);
    }
}

/// Concatenates both sources to `[samples, h, w, c]`, and applies the affine rows and the activation.
fn load(p: &Conv, reads: &ConvReads<'_>, first: usize, loaded: &mut [f32]) {
    loaded.par_chunks_mut(p.width * p.channels()).enumerate().for_each(|(line, loaded)| {
        vectorized(LoadLine { p, reads, line: first * p.height + line, loaded });
    });
}

struct LoadLine<'a> {
    p: &'a Conv,
    reads: &'a ConvReads<'a>,
    /// The index of the line, counted over all samples.
    line: usize,
    loaded: &'a mut [f32],
}

impl Loop for LoadLine<'_> {
    #[inline(always)]
    fn run(self) {
        let LoadLine { p, reads, line, loaded } = self;
        for (x, to) in loaded.chunks_exact_mut(p.channels()).enumerate() {
            let pixel = line * p.width + x;
            let (left, right) = to.split_at_mut(p.in_channels[0]);
            left.copy_from_slice(&reads.source[pixel * left.len()..(pixel + 1) * left.len()]);
            if let Some(second) = reads.second {
                right.copy_from_slice(&second[pixel * right.len()..(pixel + 1) * right.len()]);
            }
            load_pixel(p.load, reads.rows, line / p.height, to);
        }
    }
}

/// Gathers the windows of some output pixels: terms `k..k + terms` of each, ordered (tap, channel).
///
/// Channels are the last dimension, so the taps of one row of a window are contiguous in the source. They are copied
/// at once, except for the part that extends over the image's edge.
fn gather(p: &Conv, source: &[f32], row: usize, k: usize, terms: usize, tile: &mut [f32]) {
    let [out_h, out_w] = p.out_size();
    let channels = p.channels();
    let window_row = p.kernel[1] * channels;
    for (tile_row, tile) in tile.chunks_exact_mut(KC).enumerate() {
        let pixel = row + tile_row;
        let (n, y, x) = (pixel / (out_h * out_w), pixel / out_w % out_h * p.stride, pixel % out_w * p.stride);
        let mut done = 0;
        while done < terms {
            let (tap_y, from) = ((k + done) / window_row, (k + done) % window_row);
            let to = &mut tile[done..terms.min(done + window_row - from)];
            done += to.len();
            // A negative coordinate wraps to far outside the image.
            let y = (y + tap_y).wrapping_sub(p.padding);
            if y >= p.height * p.upsample {
                to.fill(0.0);
            } else if p.upsample == 1 {
                let line = &source[(n * p.height + y) * p.width * channels..][..p.width * channels];
                // The start of the window's row in the line. The row may extend over both ends.
                let start = (x * channels + from) as isize - (p.padding * channels) as isize;
                let before = ((-start).max(0) as usize).min(to.len());
                let after = ((start + to.len() as isize - line.len() as isize).max(0) as usize).min(to.len() - before);
                let end = to.len() - after;
                to[..before].fill(0.0);
                to[end..].fill(0.0);
                if before < end {
                    let start = (start + before as isize) as usize;
                    to[before..end].copy_from_slice(&line[start..start + end - before]);
                }
            } else {
                enlarged_row(p, source, n, y, x, from, to);
            }
        }
    }
}

/// Copies a part of a row of a window of the enlarged image, starting at element `from` of the row.
fn enlarged_row(p: &Conv, source: &[f32], n: usize, y: usize, x: usize, from: usize, to: &mut [f32]) {
    let channels = p.channels();
    let mut done = 0;
    while done < to.len() {
        let (tap, c) = ((from + done) / channels, (from + done) % channels);
        let end = to.len().min(done + channels - c);
        let x = (x + tap).wrapping_sub(p.padding);
        if x < p.width * p.upsample {
            let pixel = (n * p.height + y / p.upsample) * p.width + x / p.upsample;
            to[done..end].copy_from_slice(&source[pixel * channels + c..][..end - done]);
        } else {
            to[done..end].fill(0.0);
        }
        done = end;
    }
}

/// Adds the bias, the per-sample row and the residual to the sums, applies the activation and writes the output.
fn store(p: &Conv, reads: &ConvReads<'_>, first: usize, blocks: Blocks, accumulators: &[f32], output: &mut [f32]) {
    let [_, out_w] = p.out_size();
    output.par_chunks_mut(out_w * p.out_channels).enumerate().for_each(|(line, output)| {
        vectorized(StoreLine { p, reads, first, line, blocks, accumulators, output });
    });
}

struct StoreLine<'a> {
    p: &'a Conv,
    reads: &'a ConvReads<'a>,
    /// The first sample of the group.
    first: usize,
    /// The index of the line, counted from the first sample of the group.
    line: usize,
    blocks: Blocks,
    accumulators: &'a [f32],
    output: &'a mut [f32],
}

impl Loop for StoreLine<'_> {
    #[inline(always)]
    fn run(self) {
        let StoreLine { p, reads, first, line, blocks, accumulators, output } = self;
        let [out_h, out_w] = p.out_size();
        let (n, y) = (first + line / out_h, line % out_h);
        let add = p.add.and_then(|slice| Some(slice.of(reads.add?, n, p.out_channels)));
        for (x, output) in output.chunks_exact_mut(p.out_channels).enumerate() {
            blocks.copy_row(accumulators, line * out_w + x, output);
            if let Some(bias) = reads.bias {
                add_row(output, bias);
            }
            if let Some(add) = add {
                add_row(output, add);
            }
            if let (Some(residual), Some(enlarged)) = (reads.residual, p.residual) {
                let pixel = (n * (out_h / enlarged) + y / enlarged) * (out_w / enlarged) + x / enlarged;
                add_row(output, &residual[pixel * p.out_channels..][..p.out_channels]);
            }
            p.activation.apply(output);
        }
    }
}
