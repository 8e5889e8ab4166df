//! Converts elements to another type, and measures the rounding errors.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use percept::weights::{Rounding, to_f32};
use percept::{Error, Result};

use crate::checkpoint::{Dtype, Tensor};

/// The number of elements that are converted at once.
const CHUNK: usize = 1 << 16;

/// A type in which weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Float {
    /// Half precision: 11 significant bits, at most 65,504.
    F16,
    /// The upper half of an `f32`: 8 significant bits.
    Bf16,
    /// Single precision.
    F32,
}

impl Float {
    /// Returns the type in a .safetensors file.
    pub fn dtype(self) -> Dtype {
        match self {
            Float::F16 => Dtype::F16,
            Float::Bf16 => Dtype::BF16,
            Float::F32 => Dtype::F32,
        }
    }

    /// Returns the type's name.
    pub fn name(self) -> &'static str {
        match self {
            Float::F16 => "f16",
            Float::Bf16 => "bf16",
            Float::F32 => "f32",
        }
    }
}

/// Returns the type in which a tensor is stored.
///
/// With `wish`, tensors of two or more dimensions get that type. Vectors, which are norms and biases, take little
/// space and become `f32`. Without `wish`, a tensor keeps its type, or becomes `f32` if models do not support that
/// type.
pub fn stored_as(tensor: &Tensor, wish: Option<Float>) -> Float {
    match (wish, tensor.dtype()) {
        (Some(float), _) if tensor.shape().len() >= 2 => float,
        (Some(_), _) => Float::F32,
        (None, Dtype::F16) => Float::F16,
        (None, Dtype::BF16) => Float::Bf16,
        (None, _) => Float::F32,
    }
}

/// Converts a tensor, and passes its new bytes to `take` in pieces.
///
/// # Errors
/// Returns [`Error::File`] if the tensor cannot be read or has a type that models do not support, and every error
/// of `take`.
pub fn convert(tensor: &Tensor, float: Float, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<Rounding> {
    let bytes = tensor.read()?;
    let (from, width) = (tensor.dtype(), tensor.dtype().bitsize() / 8);
    let mut rounding = Rounding::default();
    // Most tensors are smaller than a chunk.
    let most = CHUNK.min(tensor.elements());
    let (mut values, mut back, mut halves) = (vec![0.0f32; most], vec![0.0f32; most], vec![f16::ZERO; most]);
    let (mut bhalves, mut out) = (vec![bf16::ZERO; most], vec![0; most * 4]);
    for chunk in bytes.chunks(CHUNK * width.max(1)) {
        let count = chunk.len() / width.max(1);
        let (values, back) = (&mut values[..count], &mut back[..count]);
        to_f32(from, chunk, values).map_err(|error: Error| error.within(tensor.name()))?;
        let out = &mut out[..count * float.dtype().bitsize() / 8];
        match float {
            Float::F16 => {
                halves[..count].convert_from_f32_slice(values);
                halves[..count].convert_to_f32_slice(back);
                encode(&halves[..count], out, f16::to_le_bytes);
            }
            Float::Bf16 => {
                bhalves[..count].convert_from_f32_slice(values);
                bhalves[..count].convert_to_f32_slice(back);
                encode(&bhalves[..count], out, bf16::to_le_bytes);
            }
            Float::F32 => {
                back.copy_from_slice(values);
                encode(values, out, f32::to_le_bytes);
            }
        }
        match from {
            Dtype::F64 => {
                let exact = chunk.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
                exact.zip(&*back).for_each(|(exact, &back)| rounding.add(exact, back));
            }
            _ => values.iter().zip(&*back).for_each(|(&exact, &back)| rounding.add(f64::from(exact), back)),
        }
        take(out)?;
    }
    Ok(rounding)
}

fn encode<T: Copy, const N: usize>(values: &[T], out: &mut [u8], bytes: impl Fn(T) -> [u8; N]) {
    for (to, &value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *to = bytes(value);
    }
}
