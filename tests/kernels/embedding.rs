//! Tests `embedding`: the twin against concatenated rows.

use percept::kernels::Parameters;
use percept::kernels::{Embedding, Index, STATE_WORDS};
use percept_tests::{Bound, Case, SplitMix, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one row, one channel, fewer and more samples than rows, and sizes around a workgroup,
/// with both indices.
pub fn cases() -> Vec<Embedding> {
    let sizes =
        [[1, 1, 1], [1, 5, 3], [7, 1, 4], [10, 3, 2], [3, 4, 9], [4, 51, 5], [4, 64, 4], [4, 257, 1], [250, 128, 3]];
    let case =
        |index| move |[table_rows, channels, batch]: [usize; 3]| Embedding { table_rows, channels, batch, index };
    [Index::PerSample, Index::Step].into_iter().flat_map(|index| sizes.map(case(index))).collect()
}

/// Returns the indices of a case. All rows exist, and the last one is among them.
fn indices(p: &Embedding, seed: u64) -> Vec<u32> {
    let mut random = SplitMix::new(seed);
    let count = match p.index {
        Index::PerSample => p.batch,
        Index::Step => STATE_WORDS,
    };
    let mut indices: Vec<u32> = (0..count).map(|_| random.word() % p.table_rows as u32).collect();
    indices[seed as usize % count] = p.table_rows as u32 - 1;
    indices
}

/// Creates inputs whose indices lie in the table.
pub fn inputs(p: Embedding, seed: u64) -> Case {
    let words = indices(&p, seed);
    let mut case = Case::random(p, seed);
    case.set_words("indices", &words);
    case
}

#[test]
fn the_twin_strings_rows_together() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("embedding").expect("a case that is a look-up");
        let case = inputs(p.clone(), seed as u64);
        let rows: Vec<&[f32]> = case.floats("table").chunks(p.channels).collect();
        let indices = indices(&p, seed as u64);
        let rows_of_samples: Vec<usize> = match p.index {
            Index::PerSample => indices.iter().map(|&index| index as usize).collect(),
            Index::Step => vec![indices[0] as usize; p.batch],
        };
        let want: Vec<f32> = rows_of_samples.iter().flat_map(|&row| rows[row]).copied().collect();
        assert_close(&case.name(), &case.twin(), &want, Bound::EXACT);
    }
}

#[test]
fn an_index_past_the_table_reads_its_last_row() {
    for index in [Index::PerSample, Index::Step] {
        let mut case = Case::random(Embedding { table_rows: 3, channels: 2, batch: 4, index }, 0);
        case.set("table", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        case.set_words("indices", &[3, 1, u32::MAX, 0]);
        let want = match index {
            Index::PerSample => [5.0, 6.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0],
            Index::Step => [5.0, 6.0, 5.0, 6.0, 5.0, 6.0, 5.0, 6.0],
        };
        assert_eq!(case.twin(), want);
    }
}

#[test]
fn what_is_no_look_up_is_refused() {
    let good = cases().remove(1);
    for bad in [
        Embedding { table_rows: 0, ..good.clone() },
        Embedding { channels: 0, ..good.clone() },
        Embedding { batch: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("label_emb"), "label_emb");
    }
}
