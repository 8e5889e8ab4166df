//! Dispatch of `embedding`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Embedding as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::{Embedding, Index};

/// Returns the dispatch of [`Embedding`].
pub(super) fn dispatches(p: &Embedding, _: Target<'_>) -> Vec<Dispatch> {
    let elements = p.batch * p.channels;
    let params = Params {
        grid_width: 0,
        elements: elements as u32,
        channels: p.channels as u32,
        table_rows: p.table_rows as u32,
        index_stride: match p.index {
            Index::PerSample => 1,
            Index::Step => 0,
        },
    };
    Vec::from([Dispatch::new(Shader::new("embedding"), &params, elements.div_ceil(THREADS))
        .bind(&["table", "indices", "output"])])
}
