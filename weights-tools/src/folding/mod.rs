//! Folds tensors that checkpoints store separately into the one weight that a layer multiplies by.

mod norms;
mod parts;

pub use norms::{fold_norms, without_spectral_norm};
pub use parts::fold;

use std::io;
use std::sync::Arc;

use percept::Result;

use crate::checkpoint::{Dtype, Tensor};

/// Creates a tensor of floats that is computed when it is read. Errors call it `name`.
fn computed(name: &str, shape: Vec<usize>, compute: impl Fn() -> Result<Vec<f32>> + Send + Sync + 'static) -> Tensor {
    let read = move || {
        let values = compute().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    };
    Tensor::computed(name.to_string(), Dtype::F32, shape, Arc::new(read))
}
