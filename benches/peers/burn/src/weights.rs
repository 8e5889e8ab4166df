//! Files of tensors, and weights made up from names and shapes.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::Result;

/// The tensors of a safetensors file, widened to f32.
pub struct File {
    path: String,
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl File {
    pub fn open(path: &str) -> Result<Self> {
        let refuse = |error: &dyn std::fmt::Display| format!("{path}: {error}");
        let bytes = std::fs::read(path).map_err(|error| refuse(&error))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| refuse(&error))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(&error))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => widen(data, f32::from_le_bytes),
                Dtype::F16 => widen(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
                Dtype::BF16 => widen(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
                // Timesteps and counters, all below 2^24.
                Dtype::I64 => widen(data, |bytes| i64::from_le_bytes(bytes) as f32),
                other => return Err(format!("{path}: {name}: expected f32, f16, bf16 or i64, got {other:?}").into()),
            };
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(File { path: path.into(), metadata, tensors })
    }

    /// The model's flags: `percept.config` of a model, `config` of a golden.
    pub fn config(&self) -> Result<&str> {
        let config = self.metadata.get("percept.config").or(self.metadata.get("config"));
        Ok(config.ok_or_else(|| format!("{}: expected metadata \"percept.config\"", self.path))?)
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.tensor(name)?.0)
    }

    pub fn values(&self, name: &str) -> Result<&[f32]> {
        Ok(&self.tensor(name)?.1)
    }

    fn tensor(&self, name: &str) -> Result<&(Vec<usize>, Vec<f32>)> {
        Ok(self.tensors.get(name).ok_or_else(|| format!("{}: expected a tensor {name}", self.path))?)
    }
}

fn widen<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().copied().map(number).collect()
}

/// Where weights come from.
pub enum Weights {
    Stored(File),
    /// Values that depend on name and shape alone, as `tests/goldens/oracle.py` defines them.
    Synthetic,
}

impl Weights {
    /// Those of a file, or synthetic ones for `random`.
    pub fn open(path: &str) -> Result<Self> {
        if path == "random" { Ok(Weights::Synthetic) } else { File::open(path).map(Weights::Stored) }
    }

    /// The model's flags, where a file says them.
    pub fn config(&self) -> Option<Result<&str>> {
        match self {
            Weights::Stored(file) => Some(file.config()),
            Weights::Synthetic => None,
        }
    }

    /// A tensor of the given shape.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self {
            Weights::Stored(file) if file.shape(name)? == shape => Ok(file.values(name)?.to_vec()),
            Weights::Stored(file) => {
                Err(format!("{name}: expected shape {shape:?}, got {:?}", file.shape(name)?).into())
            }
            Weights::Synthetic => Ok(synthetic(name, shape)),
        }
    }
}

fn synthetic(name: &str, shape: &[usize]) -> Vec<f32> {
    let (gain, centre, shift) = if name.ends_with("running_var") {
        (1.0, 0.0, 0.5)
    } else if name.ends_with("weight") && shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        (2.0 * (3.0 / fan_in as f64).sqrt() as f32, 0.5, 0.0)
    } else if name.ends_with("weight") {
        (0.4, 0.0, 0.8)
    } else {
        (0.2, 0.5, 0.0)
    };
    // FNV-1a seeds splitmix64.
    let seed = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let uniform = |i: u64| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / 16_777_216.0
    };
    (0..shape.iter().product::<usize>() as u64).map(|i| gain * (uniform(i) - centre) + shift).collect()
}
