//! `attention` as two matrix products per head and tile of queries.

use rayon::prelude::*;

use super::matmul::{KC, Product, multiply, panel_width};
use super::simd::{Loop, softmax, vectorized};
use super::{Scratch, Threads};
use crate::kernels::{Attention, Reads};

/// The number of queries per task.
const QUERIES: usize = 48;

/// Returns the `f32` counts of one head's packed keys, `[ceil(t / width)][d][width]`, and of its packed values,
/// `[ceil(d / width)][t][width]`.
fn packed_lens(p: &Attention) -> [usize; 2] {
    let width = panel_width();
    [p.tokens().next_multiple_of(width) * p.head_channels, p.head_channels.next_multiple_of(width) * p.tokens()]
}

/// Returns the scratch that a run needs: the packed keys and values and, per thread, a tile of queries, its scores as
/// panels and as rows, and its results as panels.
pub(super) fn scratch(p: &Attention) -> Scratch {
    let padded = |length: usize| length.next_multiple_of(panel_width());
    let tile = QUERIES * (KC + padded(p.tokens()) + p.tokens() + padded(p.head_channels));
    let packed: usize = packed_lens(p).iter().sum();
    Scratch { accumulators: 0, loaded: p.batch * p.heads * packed, tile }
}

/// Runs [`Attention`].
pub(super) fn attention(p: &Attention, reads: Reads<'_>, output: &mut [f32], threads: &Threads, packed: &mut [f32]) {
    let qkv = p.reads(reads).qkv;
    let (tokens, channels) = (p.tokens(), p.channels());
    let packed_len: usize = packed_lens(p).iter().sum();
    let packed = &mut packed[..p.batch * p.heads * packed_len];
    packed.par_chunks_mut(packed_len).enumerate().for_each(|(index, packed)| {
        pack(p, qkv, index / p.heads, index % p.heads, packed);
    });
    let packed = &*packed;
    output.par_chunks_mut(tokens * channels).enumerate().for_each(|(n, output)| {
        output.par_chunks_mut(QUERIES * channels).enumerate().for_each(|(tile, output)| {
            for (head, packed) in packed[n * p.heads * packed_len..].chunks_exact(packed_len).take(p.heads).enumerate()
            {
                threads.with_tile(|scratch| attend(p, qkv, n * tokens + tile * QUERIES, head, packed, scratch, output));
            }
        });
    });
}

/// Returns the factor that scales both queries and keys. Its square is the usual factor of the scores.
fn scale(p: &Attention) -> f32 {
    (1.0 / (p.head_channels as f64).sqrt().sqrt()) as f32
}

/// Packs the keys and values of one head into panels for the matrix product.
fn pack(p: &Attention, qkv: &[f32], n: usize, head: usize, packed: &mut [f32]) {
    let (tokens, d, width, scale) = (p.tokens(), p.head_channels, panel_width(), scale(p));
    let [_, key, value] = p.offsets(head);
    let (keys, values) = packed.split_at_mut(packed_lens(p)[0]);
    for (token, pixel) in qkv[n * tokens * 3 * p.channels()..].chunks_exact(3 * p.channels()).take(tokens).enumerate() {
        for (c, &k) in pixel[key..key + d].iter().enumerate() {
            keys[(token / width * d + c) * width + token % width] = k * scale;
        }
        for (panel, v) in pixel[value..value + d].chunks(width).enumerate() {
            values[(panel * tokens + token) * width..][..v.len()].copy_from_slice(v);
        }
    }
}

/// The softmax over the keys, row by row.
struct Softmax<'a> {
    /// `[panels][rows][width]`
    scores: &'a [f32],
    rows: usize,
    /// `[rows, tokens]`
    weights: &'a mut [f32],
    tokens: usize,
}

impl Loop for Softmax<'_> {
    #[inline(always)]
    fn run(self) {
        let width = panel_width();
        for (row, weights) in self.weights.chunks_exact_mut(self.tokens).enumerate() {
            for (panel, weights) in weights.chunks_mut(width).enumerate() {
                weights.copy_from_slice(&self.scores[(panel * self.rows + row) * width..][..weights.len()]);
            }
            softmax(weights);
        }
    }
}

/// Computes the attention of one head for a tile of queries that starts at row `first` of qkv.
fn attend(
    p: &Attention,
    qkv: &[f32],
    first: usize,
    head: usize,
    packed: &[f32],
    scratch: &mut [f32],
    output: &mut [f32],
) {
    let (tokens, d, width, scale) = (p.tokens(), p.head_channels, panel_width(), scale(p));
    let rows = output.len() / p.channels();
    let (keys, values) = packed.split_at(packed_lens(p)[0]);
    let (tile, scratch) = scratch.split_at_mut(QUERIES * KC);
    let (scores, scratch) = scratch.split_at_mut(QUERIES * tokens.next_multiple_of(width));
    let (weights, sums) = scratch.split_at_mut(QUERIES * tokens);
    let tile = &mut tile[..rows * KC];

    // The scores: queries times keys.
    let scores = &mut scores[..rows * tokens.next_multiple_of(width)];
    for k in (0..d).step_by(KC) {
        let terms = KC.min(d - k);
        for (row, tile) in tile.chunks_exact_mut(KC).enumerate() {
            let query = &qkv[(first + row) * 3 * p.channels() + p.offsets(head)[0] + k..][..terms];
            tile.iter_mut().zip(query).for_each(|(to, q)| *to = q * scale);
        }
        multiply(Product {
            tile,
            terms,
            panels: keys,
            depth: d,
            k,
            add: k > 0,
            panel_rows: rows,
            accumulators: scores,
        });
    }

    vectorized(Softmax { scores, rows, weights: &mut weights[..rows * tokens], tokens });

    // The results: weights times values.
    let sums = &mut sums[..rows * d.next_multiple_of(width)];
    for k in (0..tokens).step_by(KC) {
        let terms = KC.min(tokens - k);
        for (tile, weights) in tile.chunks_exact_mut(KC).zip(weights.chunks_exact(tokens)) {
            tile[..terms].copy_from_slice(&weights[k..k + terms]);
        }
        multiply(Product {
            tile,
            terms,
            panels: values,
            depth: tokens,
            k,
            add: k > 0,
            panel_rows: rows,
            accumulators: sums,
        });
    }
    for (row, output) in output.chunks_exact_mut(p.channels()).enumerate() {
        for (panel, output) in output[head * d..(head + 1) * d].chunks_mut(width).enumerate() {
            output.copy_from_slice(&sums[(panel * rows + row) * width..][..output.len()]);
        }
    }
}
