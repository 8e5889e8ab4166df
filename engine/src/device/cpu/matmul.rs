//! The matrix product that convolution, dense layers and attention use.
//!
//! `C[m, n] = sum_k A[m, k] B[k, n]`. B is packed once into panels. The caller gathers A tile by tile, so that a
//! convolution never materialises its windows. Each element of C is a chain of fused multiply-adds over each block of
//! [`KC`] terms, and the blocks are added in order. The result therefore does not depend on the tiles, the batch, the
//! number of threads or the width of the machine's vectors, and neither does a sample.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Threads;
use super::simd::{ARCH, LANES};
use crate::kernels::Matrix;

/// The number of terms in one block of a sum. With AVX-512, this many rows of a panel take 16 KiB of a 32 KiB
/// first-level cache, which leaves room for a strip of the tile. Twice as many rows fill the cache and were much
/// slower.
pub const KC: usize = 128;

/// The number of rows of a tile of A. The tile stays in the second-level cache.
pub const TILE_ROWS: usize = 96;

/// The maximum number of columns in one task's block of C.
const BLOCK_COLUMNS: usize = 1024;

/// Returns the number of columns of a panel: two vectors.
pub fn panel_width() -> usize {
    2 * *LANES
}

/// Returns the number of `f32`s that the panels of a `[depth, columns]` matrix take.
pub fn packed_len(depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(panel_width()) * depth
}

/// Packs `part`, of shape `[depth, columns]`, into the panels `[.. / width][depth][width]` of a wider matrix,
/// starting at `first_column`. Each call of `put(at, values)` writes `values` at index `at`.
pub fn pack(depth: usize, first_column: usize, columns: usize, part: &[f32], put: &mut dyn FnMut(usize, &[f32])) {
    let width = panel_width();
    for (k, row) in part.chunks_exact(columns).enumerate() {
        let mut done = 0;
        while done < columns {
            let (panel, lane) = ((first_column + done) / width, (first_column + done) % width);
            let count = (width - lane).min(columns - done);
            put((panel * depth + k) * width + lane, &row[done..done + count]);
            done += count;
        }
    }
}

/// Returns the number of `f32`s that a task needs to widen the weights of one block of terms.
pub fn widened_len() -> usize {
    KC * panel_width()
}

/// The size of a product, and its division into blocks of C, one per task.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    rows: usize,
    columns: usize,
    depth: usize,
    block_columns: usize,
}

impl Blocks {
    /// Divides a product into enough blocks to keep the threads busy.
    pub fn new(rows: usize, columns: usize, depth: usize, threads: usize) -> Self {
        let width = panel_width();
        let padded = columns.next_multiple_of(width);
        let row_blocks = rows.div_ceil(TILE_ROWS);
        let wanted = (3 * threads).div_ceil(row_blocks);
        let block_columns = padded.div_ceil(wanted).next_multiple_of(width).min(BLOCK_COLUMNS).min(padded);
        Blocks { rows, columns, depth, block_columns }
    }

    fn tile_rows(&self) -> usize {
        self.rows.min(TILE_ROWS)
    }

    fn column_blocks(&self) -> usize {
        self.columns.next_multiple_of(panel_width()).div_ceil(self.block_columns)
    }

    /// Returns the number of `f32`s in all blocks of C.
    pub fn accumulators(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS) * self.column_blocks() * self.tile_rows() * self.block_columns
    }

    /// Copies a row of C.
    #[inline(always)]
    pub fn copy_row(&self, accumulators: &[f32], row: usize, to: &mut [f32]) {
        let width = panel_width();
        let (row_block, row) = (row / TILE_ROWS, row % TILE_ROWS);
        let block_len = self.tile_rows() * self.block_columns;
        let blocks = accumulators[row_block * self.column_blocks() * block_len..].chunks_exact(block_len);
        for (to, block) in to.chunks_mut(self.block_columns).zip(blocks) {
            for (to, panel) in to.chunks_mut(width).zip(block.chunks_exact(self.tile_rows() * width)) {
                to.copy_from_slice(&panel[row * width..][..to.len()]);
            }
        }
    }
}

/// Computes all blocks of C. `gather(row, k, terms, tile)` writes terms `k..k + terms` of A's rows, starting at
/// `row`, to `tile`. The tile has as many rows as are to be gathered, each [`KC`] elements long.
pub fn matmul(
    threads: &Threads,
    blocks: Blocks,
    panels: Matrix<'_>,
    accumulators: &mut [f32],
    gather: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
) {
    let width = panel_width();
    let block_len = blocks.tile_rows() * blocks.block_columns;
    let column_blocks = blocks.column_blocks();
    accumulators[..blocks.accumulators()].par_chunks_mut(block_len).enumerate().for_each(|(index, accumulators)| {
        let (row_block, column_block) = (index / column_blocks, index % column_blocks);
        let first_row = row_block * TILE_ROWS;
        let rows = blocks.tile_rows().min(blocks.rows - first_row);
        let first_column = column_block * blocks.block_columns;
        let columns = blocks.block_columns.min(blocks.columns.next_multiple_of(width) - first_column);
        let range = first_column * blocks.depth..(first_column + columns) * blocks.depth;
        threads.with_tile(|scratch| {
            let (tile, widened) = scratch.split_at_mut(rows * KC);
            for k in (0..blocks.depth).step_by(KC) {
                let terms = KC.min(blocks.depth - k);
                gather(first_row, k, terms, tile);
                let panel_rows = blocks.tile_rows();
                let accumulators = &mut accumulators[..columns / width * panel_rows * width];
                let product =
                    Product { tile, terms, panels: &[], depth: blocks.depth, k, add: k > 0, panel_rows, accumulators };
                match panels {
                    Matrix::F32(panels) => multiply(Product { panels: &panels[range.clone()], ..product }),
                    Matrix::F16(panels) => multiply_widened(product, &panels[range.clone()], widened),
                }
            }
        });
    });
}

/// The product of one tile of A and some panels of B, which is added to C.
pub struct Product<'a> {
    /// `[rows][KC]`
    pub tile: &'a [f32],
    /// The number of filled elements in each row of the tile.
    pub terms: usize,
    /// `[panels][depth][width]`
    pub panels: &'a [f32],
    /// The number of terms of the whole sum.
    pub depth: usize,
    /// The index of the tile's first term in the whole sum.
    pub k: usize,
    /// True if the product is added to C, false if it overwrites C.
    pub add: bool,
    /// The number of rows of C in `accumulators`. The tile's rows are the first of them.
    pub panel_rows: usize,
    /// `[panels][panel_rows][width]`
    pub accumulators: &'a mut [f32],
}

/// Computes the product with the machine's vector instructions.
pub fn multiply(product: Product<'_>) {
    ARCH.dispatch(product);
}

/// Computes the product with half-precision panels. The terms that it needs are widened one panel after another, once
/// for all rows of the tile.
fn multiply_widened(product: Product<'_>, panels: &[f16], widened: &mut [f32]) {
    let Product { tile, terms, depth, k, add, panel_rows, accumulators, .. } = product;
    let width = panel_width();
    let widened = &mut widened[..terms * width];
    for (panel, accumulators) in
        panels.chunks_exact(depth * width).zip(accumulators.chunks_exact_mut(panel_rows * width))
    {
        panel[k * width..(k + terms) * width].convert_to_f32_slice(widened);
        multiply(Product { tile, terms, panels: widened, depth: terms, k: 0, add, panel_rows, accumulators });
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.tile.as_chunks::<KC>().0;
        let width = 2 * S::F32_LANES;
        let panels = self.panels.chunks_exact(self.depth * width);
        for (panel, accumulators) in panels.zip(self.accumulators.chunks_exact_mut(self.panel_rows * width)) {
            let panel = S::as_simd_f32s(&panel[self.k * width..(self.k + self.terms) * width]).0;
            let c = S::as_mut_simd_f32s(accumulators).0;
            // Registers hold 2 R accumulators, two vectors of B and a broadcast element of A: R = 12 fits 32
            // registers, and R = 6 fits the 16 registers of AVX2.
            let add = self.add;
            let done = if S::F32_LANES == 8 {
                strips::<S, 6>(simd, rows, 0, panel, c, add)
            } else {
                strips::<S, 12>(simd, rows, 0, panel, c, add)
            };
            let done = strips::<S, 4>(simd, rows, done, panel, c, add);
            strips::<S, 1>(simd, rows, done, panel, c, add);
        }
    }
}

/// Computes all whole strips of R rows, starting at row `from`, and returns the first row that is left over.
#[inline(always)]
fn strips<S: Simd, const R: usize>(
    simd: S,
    rows: &[[f32; KC]],
    from: usize,
    b: &[S::f32s],
    c: &mut [S::f32s],
    add: bool,
) -> usize {
    let (strips, rest) = rows[from..].as_chunks::<R>();
    for (strip, c) in strips.iter().zip(c[2 * from..].chunks_exact_mut(2 * R)) {
        let b = b.as_chunks::<2>().0;
        let b = &b[..b.len().min(KC)];
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for (k, b) in b.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(strip) {
                // k < KC: the slice above is no longer than that.
                let a = simd.splat_f32s(row[k]);
                sum[0] = simd.mul_add_f32s(a, b[0], sum[0]);
                sum[1] = simd.mul_add_f32s(a, b[1], sum[1]);
            }
        }
        for (c, sum) in c.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
            *c = if add { [simd.add_f32s(c[0], sum[0]), simd.add_f32s(c[1], sum[1])] } else { sum };
        }
    }
    rows.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 23;
    const DEPTH: usize = 2 * KC + 37;
    const COLUMNS: usize = 41;

    fn a(row: usize, k: usize) -> f32 {
        (row * 31 + k * 17) as f32 % 97.0 / 97.0 - 0.5
    }

    fn b(k: usize, column: usize) -> f32 {
        (k * 13 + column * 29) as f32 % 89.0 / 89.0 - 0.5
    }

    /// The whole product, computed from panels of the vectors' width.
    struct WholeProduct;

    impl WithSimd for WholeProduct {
        type Output = Vec<f32>;

        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let width = 2 * S::F32_LANES;
            let panels: usize = COLUMNS.div_ceil(width);
            let mut packed = vec![0.0; panels * DEPTH * width];
            for (k, column) in (0..DEPTH).flat_map(|k| (0..COLUMNS).map(move |column| (k, column))) {
                packed[(column / width * DEPTH + k) * width + column % width] = b(k, column);
            }
            let mut accumulators = vec![f32::NAN; panels * ROWS * width];
            for k in (0..DEPTH).step_by(KC) {
                let terms = KC.min(DEPTH - k);
                let tile: Vec<f32> =
                    (0..ROWS * KC).map(|i| if i % KC < terms { a(i / KC, k + i % KC) } else { f32::NAN }).collect();
                let accumulators = &mut accumulators;
                let (tile, panels, depth, add) = (&tile, &packed, DEPTH, k > 0);
                Product { tile, terms, panels, depth, k, add, panel_rows: ROWS, accumulators }.with_simd(simd);
            }
            let element = |i: usize| (i / COLUMNS, i % COLUMNS);
            let at = |(row, column)| accumulators[(column / width * ROWS + row) * width + column % width];
            (0..ROWS * COLUMNS).map(|i| at(element(i))).collect()
        }
    }

    /// The result must not depend on the width of the machine's vectors: it consists of fused multiply-adds over
    /// blocks of terms, and the blocks are added in order.
    #[test]
    fn every_vector_width_gives_the_same_bits() {
        let element = |i: usize| {
            let (row, column) = (i / COLUMNS, i % COLUMNS);
            let block =
                |k: usize| (k..DEPTH.min(k + KC)).fold(0.0f32, |sum, k| a(row, k).mul_add(b(k, column), sum)).to_bits();
            let blocks = (0..DEPTH).step_by(KC).map(|k| f32::from_bits(block(k)));
            blocks.reduce(|sum, block| sum + block).map(f32::to_bits)
        };
        let want: Vec<_> = (0..ROWS * COLUMNS).map(element).collect();
        let mut got =
            vec![("detected", ARCH.dispatch(WholeProduct)), ("scalar", pulp::Scalar::new().vectorize(WholeProduct))];
        #[cfg(target_arch = "x86_64")]
        {
            got.extend(pulp::x86::V3::try_new().map(|avx2| ("AVX2", Simd::vectorize(avx2, WholeProduct))));
            got.extend(pulp::x86::V4::try_new().map(|avx512| ("AVX-512", Simd::vectorize(avx512, WholeProduct))));
        }
        for (name, got) in got {
            let got: Vec<_> = got.iter().map(|x| Some(x.to_bits())).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
