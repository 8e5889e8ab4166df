//! Golden files: a reference implementation's inputs and outputs.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// The bytes of a golden file.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(format!("{name}.safetensors"));
        Golden(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Returns the metadata `config`.
    pub fn config(&self) -> serde_json::Value {
        let (_, header) = SafeTensors::read_metadata(&self.0).expect("a safetensors header");
        let metadata = header.metadata().as_ref().expect("metadata");
        serde_json::from_str(&metadata["config"]).expect("a configuration in JSON")
    }

    pub fn f64s(&self, name: &str) -> Vec<f64> {
        self.numbers(name, Dtype::F64, f64::from_le_bytes)
    }

    pub fn f32s(&self, name: &str) -> Vec<f32> {
        self.numbers(name, Dtype::F32, f32::from_le_bytes)
    }

    pub fn usizes(&self, name: &str) -> Vec<usize> {
        self.numbers(name, Dtype::I64, i64::from_le_bytes).into_iter().map(|value| value as usize).collect()
    }

    fn numbers<T, const N: usize>(&self, name: &str, dtype: Dtype, of: fn([u8; N]) -> T) -> Vec<T> {
        let tensors = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tensor.dtype(), dtype, "{name}");
        tensor.data().as_chunks::<N>().0.iter().map(|&bytes| of(bytes)).collect()
    }
}

/// Asserts that two tables agree element by element, relative to the expected values. NaN never agrees.
pub fn assert_close(name: &str, got: &[f64], want: &[f64], bound: f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(difference <= bound * want.abs(), "{name}[{i}]: got {got:e}, want {want:e}, bound {bound:e}");
    }
}
