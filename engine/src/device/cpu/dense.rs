//! `dense` as a matrix product of rows.

use rayon::prelude::*;

use super::matmul::{Blocks, KC, matmul, widened_len};
use super::simd::{Loop, add_row, vectorized};
use super::{Scratch, Threads};
use crate::kernels::{Dense, Reads};

fn blocks(p: &Dense, threads: usize) -> Blocks {
    Blocks::new(p.rows, p.out_features, p.in_features, threads)
}

/// Returns the scratch that a run needs.
pub(super) fn scratch(p: &Dense, threads: usize) -> Scratch {
    Scratch { accumulators: blocks(p, threads).accumulators(), loaded: 0, tile: super::TILE + widened_len() }
}

/// Runs [`Dense`].
pub(super) fn dense(p: &Dense, reads: Reads<'_>, output: &mut [f32], threads: &Threads, accumulators: &mut [f32]) {
    let reads = p.reads(reads);
    let blocks = blocks(p, threads.count());
    matmul(threads, blocks, reads.weight, accumulators, |row, k, terms, tile| {
        for (tile_row, tile) in tile.chunks_exact_mut(KC).enumerate() {
            tile[..terms].copy_from_slice(&reads.source[(row + tile_row) * p.in_features + k..][..terms]);
        }
    });
    output.par_chunks_mut(p.out_features).enumerate().for_each(|(row, output)| {
        let residual = reads.residual.map(|residual| &residual[row * p.out_features..(row + 1) * p.out_features]);
        vectorized(StoreRow { p, row, bias: reads.bias, residual, blocks, accumulators, output });
    });
}

/// Adds the bias and the residual to the sums of a row, applies the activation and writes the output.
struct StoreRow<'a> {
    p: &'a Dense,
    row: usize,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    blocks: Blocks,
    accumulators: &'a [f32],
    output: &'a mut [f32],
}

impl Loop for StoreRow<'_> {
    #[inline(always)]
    fn run(self) {
        let StoreRow { p, row, bias, residual, blocks, accumulators, output } = self;
        blocks.copy_row(accumulators, row, output);
        if let Some(bias) = bias {
            add_row(output, bias);
        }
        if let Some(residual) = residual {
            add_row(output, residual);
        }
        p.activation.apply(output);
    }
}
