//! Weights that are computed from names and shapes alone, so that a model of any size can be checked and
//! timed without a file.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::WeightSource;
use crate::{Error, Result, Shape};

const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// Deterministic weights: the values of a tensor depend only on its name and shape.
///
/// ```text
/// seed  = FNV-1a 64 of the name
/// z_i   = splitmix64(seed + i * 0x9E3779B97F4A7C15)
/// u_i   = (z_i >> 40) * 2^-24
/// ```
///
/// The first rule that matches the name determines the values:
///
/// | name | value |
/// | --- | --- |
/// | `*running_var`, `*stored_var` | 0.5 + u |
/// | `*running_mean`, `*stored_mean` | 0.2 (u - 0.5) |
/// | `*num_batches_tracked` | 0 |
/// | `*weight` of two or more dimensions | (2u - 1) sqrt(3 / fan_in) |
/// | `*weight` of one dimension | 0.8 + 0.4u |
/// | all others | 0.2 (u - 0.5) |
///
/// `tests/goldens/oracle.py` implements the same rules in Python.
#[derive(Clone, Debug)]
pub struct Synthetic {
    shapes: BTreeMap<String, Shape>,
}

impl Synthetic {
    /// Creates weights with the given names and shapes.
    pub fn new(shapes: BTreeMap<String, Shape>) -> Self {
        Synthetic { shapes }
    }

    /// Creates weights from the JSON object of golden files, which maps each name to a list of dimensions.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if `json` is not such an object, and [`Error::Shape`] if a shape is too large.
    pub fn from_json(json: &str) -> Result<Self> {
        let listed: BTreeMap<String, Vec<usize>> = serde_json::from_str(json)
            .map_err(|error| Error::config("weights", "a JSON object of names and shapes", error))?;
        let shapes = listed.into_iter().map(|(name, dims)| Ok((name, Shape::new(&dims)?)));
        Ok(Synthetic { shapes: shapes.collect::<Result<_>>()? })
    }

    /// Returns `u_i` of the tensor with this seed.
    fn uniform(seed: u64, i: u64) -> f32 {
        let mut z = seed.wrapping_add(i.wrapping_mul(GOLDEN_RATIO));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 * (1.0 / 16_777_216.0)
    }
}

/// Returns the 64-bit FNV-1a hash of a name.
pub(crate) fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

impl WeightSource for Synthetic {
    fn name(&self) -> &str {
        "synthetic weights"
    }

    fn tensors(&self) -> Vec<String> {
        self.shapes.keys().cloned().collect()
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        self.shapes.get(tensor).copied()
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        let shape = self.shapes.get(tensor).ok_or_else(|| Error::file(self.name(), tensor, "none of that name"))?;
        if shape.elements() != out.len() {
            return Err(Error::shape(tensor, shape, out.len().to_string()));
        }
        let ends_with_any = |ends: [&str; 2]| ends.iter().any(|end| tensor.ends_with(end));
        // Every rule is gain * (u - centre) + shift, computed in f32 and in this order.
        let (gain, centre, shift) = if ends_with_any(["running_var", "stored_var"]) {
            (1.0, 0.0, 0.5)
        } else if tensor.ends_with("num_batches_tracked") {
            (0.0, 0.0, 0.0)
        } else if tensor.ends_with("weight") && shape.len() >= 2 {
            let fan_in: usize = shape[1..].iter().product();
            // (2u - 1) b = 2b (u - 1/2), because doubling is exact.
            (2.0 * libm::sqrt(3.0 / fan_in as f64) as f32, 0.5, 0.0)
        } else if tensor.ends_with("weight") && shape.len() == 1 {
            (0.4, 0.0, 0.8)
        } else {
            (0.2, 0.5, 0.0)
        };
        let seed = fnv1a64(tensor);
        for (i, value) in (0..).zip(out) {
            *value = gain * (Self::uniform(seed, i) - centre) + shift;
        }
        Ok(())
    }
}
