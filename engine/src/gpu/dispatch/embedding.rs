//! Dispatch of `embedding`.

use percept_shaders::Shader;

use super::{Dispatch, THREADS, params};
use crate::kernels::{Embedding, Index};

params! { "embedding":
    grid_width: u32,
    elements: u32,
    channels: u32,
    table_rows: u32,
    index_stride: u32,
}

/// See [`Embedding`].
pub(super) fn dispatch(p: &Embedding) -> Dispatch {
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
    Dispatch::new(Shader::new("embedding"), &params, elements.div_ceil(THREADS)).bind(&["table", "indices", "output"])
}
