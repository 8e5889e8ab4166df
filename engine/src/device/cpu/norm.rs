//! `channel_stats`, `group_affine` and `layer_norm`. They run in parallel over tiles, samples and tokens,
//! respectively.

use rayon::prelude::*;

use super::simd::{Loop, add_row, sum, sum_of_squares, vectorized};
use crate::kernels::layer_norm::LayerNormReads;
use crate::kernels::{ChannelStats, GroupAffine, Kernel, LayerNorm, Reads};
use crate::reference;

/// Runs [`ChannelStats`].
pub(super) fn channel_stats(p: &ChannelStats, reads: Reads<'_>, output: &mut [f32]) {
    let source = p.reads(reads).source;
    let (pixels, channels) = (p.height * p.width, p.channels);
    output.par_chunks_mut(2 * channels).enumerate().for_each(|(index, output)| {
        let (n, first) = (index / p.tiles(), index % p.tiles() * p.tile);
        let count = p.tile.min(pixels - first);
        let tile = &source[(n * pixels + first) * channels..][..count * channels];
        vectorized(TileStats { tile, output });
    });
}

/// The mean and M2 of each channel over the pixels of a tile.
struct TileStats<'a> {
    /// `[pixels, channels]`
    tile: &'a [f32],
    /// `[2, channels]`
    output: &'a mut [f32],
}

impl Loop for TileStats<'_> {
    #[inline(always)]
    fn run(self) {
        self.output.fill(0.0);
        let channels = self.output.len() / 2;
        let count = self.tile.len() / channels;
        let (mean, m2) = self.output.split_at_mut(channels);
        for pixel in self.tile.chunks_exact(channels) {
            add_row(mean, pixel);
        }
        mean.iter_mut().for_each(|mean| *mean /= count as f32);
        for pixel in self.tile.chunks_exact(channels) {
            for ((m2, mean), x) in m2.iter_mut().zip(&*mean).zip(pixel) {
                *m2 += (x - mean) * (x - mean);
            }
        }
    }
}

/// Runs the twin of [`GroupAffine`] on all samples in parallel.
pub(super) fn group_affine(p: &GroupAffine, reads: Reads<'_>, output: &mut [u32]) {
    let buffers = p.reads(reads);
    let one = Kernel::GroupAffine(GroupAffine { batch: 1, ..p.clone() });
    output.par_chunks_mut(2 * p.all_channels()).enumerate().for_each(|(n, output)| {
        let of_sample = |buffer| sample(buffer, n, p.batch);
        let bound = [
            Some(of_sample(buffers.stats)),
            buffers.second.map(of_sample),
            Some(buffers.gamma),
            Some(buffers.beta),
            buffers.film.map(of_sample),
        ];
        let mut words: [&[u32]; 5] = [&[]; 5];
        let mut count = 0;
        for buffer in bound.into_iter().flatten() {
            words[count] = bytemuck::cast_slice(buffer);
            count += 1;
        }
        reference::run(&one, Reads::new(&words[..count]), &mut [output]);
    });
}

/// Returns the part of a `[batch, ...]` buffer that belongs to sample `n`.
fn sample(buffer: &[f32], n: usize, batch: usize) -> &[f32] {
    let length = buffer.len() / batch;
    &buffer[n * length..(n + 1) * length]
}

/// Runs [`LayerNorm`].
pub(super) fn layer_norm(p: &LayerNorm, reads: Reads<'_>, output: &mut [f32]) {
    let reads = &p.reads(reads);
    output.par_chunks_mut(p.channels).enumerate().for_each(|(row, output)| {
        vectorized(NormToken { p, reads, row, output });
    });
}

struct NormToken<'a> {
    p: &'a LayerNorm,
    reads: &'a LayerNormReads<'a>,
    /// The row of the output, counted over all samples.
    row: usize,
    output: &'a mut [f32],
}

impl Loop for NormToken<'_> {
    #[inline(always)]
    fn run(self) {
        let NormToken { p, reads, row, output } = self;
        let token = &reads.source[p.token(row) * p.channels..][..p.channels];
        let count = p.channels as f32;
        let mean = sum(token) / count;
        output.iter_mut().zip(token).for_each(|(difference, x)| *difference = x - mean);
        let deviation = (sum_of_squares(output) / count + p.eps).sqrt();
        for ((y, gamma), beta) in output.iter_mut().zip(reads.gamma).zip(reads.beta) {
            *y = (*y / deviation).mul_add(*gamma, *beta);
        }
    }
}
