//! Tests that weights arrive intact if they exceed 16 MiB, the largest upload that the driver gets at once.

use std::sync::Arc;

use percept::device::Executor;
use percept::device::gpu::{Gpu, GpuExecutor};
use percept::kernels::{Activation, Dense, Embedding, Index};
use percept::program::Graph;
use percept::weights::{Recipe, Synthetic, WeightSource};
use percept::{DType, Precision, Shape};
use percept_tests::{Case, SplitMix, run_guarded};

use super::first_adapter;

/// The largest upload, in bytes.
const CHUNK: usize = 16 << 20;

/// The columns of a panel.
const PANEL: usize = 64;

/// Creates a product of small whole numbers, whose sums are exact in any order.
fn of_whole_numbers(in_features: usize, out_features: usize) -> Case {
    let activation = Activation::Identity;
    let dense = Dense { rows: 1, in_features, out_features, bias: false, residual: false, activation };
    let mut case = Case::random(dense, 0);
    let mut random = SplitMix::new(in_features as u64);
    let mut whole = |count: usize| -> Vec<f32> { (0..count).map(|_| (random.word() % 5) as f32 - 2.0).collect() };
    case.set("source", &whole(in_features));
    case.set("weight", &whole(in_features * out_features));
    case
}

/// Tests matrices of two panels that are as large as a chunk, a little larger, or larger than two chunks, and a
/// matrix of many panels that together exceed a chunk.
#[test]
fn matrices_larger_than_a_chunk_are_whole() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    let just = |dtype: DType| CHUNK / PANEL / dtype.bytes();
    let [single, half] = [DType::F32, DType::F16].map(just);
    for (depth, columns, precision) in [
        (single, 65, Precision::F32),
        (single + 4, 65, Precision::F32),
        (2 * single + 60, 65, Precision::F32),
        (520, 8200, Precision::F32),
        (half, 65, Precision::F16),
        (half + 4, 65, Precision::F16),
        (1040, 8200, Precision::F16),
    ] {
        let case = of_whole_numbers(depth, columns);
        let got = run_guarded(&gpu, &case, precision).expect("a run").swap_remove(0);
        let want = case.twin();
        let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
        assert_eq!(wrong, None, "the first wrong column of {depth}x{columns} in {}", precision.name());
        assert!(want.iter().any(|sum| *sum != want[0]));
    }
}

/// Tests the rows of a table, which is uploaded unchanged in single precision: of exactly one chunk, and of two
/// and three.
#[test]
fn a_table_larger_than_a_chunk_is_whole() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    let channels = 1024;
    let rows_of_chunk = CHUNK / channels / 4;
    for (rows, precision) in
        [(rows_of_chunk, Precision::F32), (rows_of_chunk + 1, Precision::F16), (2 * rows_of_chunk + 3, Precision::F32)]
    {
        let shape = Shape::from([rows, channels]);
        let source = Synthetic::new([("table".to_string(), shape)].into());
        let ends = [0, 1, rows_of_chunk - 1, rows_of_chunk, 2 * rows_of_chunk - 1, 2 * rows_of_chunk, rows - 1];
        let indices: Vec<u32> = ends.into_iter().filter(|row| *row < rows).map(|row| row as u32).collect();

        let mut g = Graph::new();
        let table = g.weight(Recipe::Copy { tensor: "table".to_string(), shape });
        let chosen = g.input_u32("indices", [indices.len()]);
        let embedding = Embedding { table_rows: rows, channels, batch: indices.len(), index: Index::PerSample };
        let output = g.op1("rows", embedding, &[table, chosen]).expect("a look-up");
        g.output("rows", output);
        let program = Arc::new(g.finish().expect("a program").stored_in(precision));
        let mut executor = GpuExecutor::guarded(&gpu, program, &source).expect("an executor");
        executor.write_u32("indices", &indices).expect("indices");
        executor.run(0..1).expect("a run");

        let table = source.tensor("table").expect("a table");
        for (row, got) in indices.iter().zip(executor.read("rows").expect("rows").chunks_exact(channels)) {
            let want = &table[*row as usize * channels..][..channels];
            assert!(got == want, "row {row} of {rows} in {}", precision.name());
        }
    }
}
