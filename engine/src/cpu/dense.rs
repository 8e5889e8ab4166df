//! `dense` as a matrix product of rows.

use rayon::prelude::*;

use super::matmul::{Blocks, KC, matmul};
use super::simd::ARCH;
use super::{Scratch, Threads};
use crate::kernels::{Dense, Reads};

fn blocks(p: &Dense, threads: usize) -> Blocks {
    Blocks::new(p.rows, p.out_features, p.in_features, threads)
}

/// What a run needs beside the op's buffers.
pub(super) fn scratch(p: &Dense, threads: usize) -> Scratch {
    Scratch { accumulators: blocks(p, threads).accumulators(), loaded: 0, tile: super::TILE }
}

/// See [`Dense`].
pub(super) fn dense(p: &Dense, reads: Reads<'_>, output: &mut [f32], threads: &Threads, accumulators: &mut [f32]) {
    let reads = p.reads(reads);
    let blocks = blocks(p, threads.count());
    matmul(threads, blocks, reads.weight, accumulators, |row, k, terms, tile| {
        for (tile_row, tile) in tile.chunks_exact_mut(KC).enumerate() {
            tile[..terms].copy_from_slice(&reads.source[(row + tile_row) * p.in_features + k..][..terms]);
        }
    });
    output.par_chunks_mut(p.out_features).enumerate().for_each(|(row, output)| {
        ARCH.dispatch(|| {
            blocks.row(accumulators, row, |column, sums| output[column..column + sums.len()].copy_from_slice(sums));
            let mut plus = |row: &[f32]| output.iter_mut().zip(row).for_each(|(value, other)| *value += other);
            let residual = reads.residual.map(|residual| &residual[row * p.out_features..(row + 1) * p.out_features]);
            reads.bias.into_iter().chain(residual).for_each(&mut plus);
            p.activation.apply(output);
        });
    });
}
