//! Model files: `.safetensors` files with percept's metadata.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use super::WeightSource;
use crate::{Error, Result, Shape};

/// A `.safetensors` file whose bytes are held by `B`, such as a memory map or a `Vec`.
pub struct ModelFile<B> {
    name: String,
    bytes: B,
    metadata: Metadata,
    /// The offset in `bytes` at which the tensors begin.
    data: usize,
}

impl<B: AsRef<[u8]> + Sync> ModelFile<B> {
    /// Reads the header of a file. `name` is the file's name in error messages.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the bytes are not a `.safetensors` file, or if the file is truncated.
    pub fn parse(name: &str, bytes: B) -> Result<Self> {
        let foreign = |got: String| Error::file(name, "a .safetensors file", got);
        let length = bytes.as_ref().len();
        let (header, metadata) = SafeTensors::read_metadata(bytes.as_ref()).map_err(|error| match error {
            safetensors::SafeTensorError::MetadataIncompleteBuffer => Error::file(
                name,
                "a whole .safetensors file",
                alloc::format!("{length} bytes, of which a part is missing"),
            ),
            error => foreign(error.to_string()),
        })?;
        // The first 8 bytes hold the length of the header.
        let data = header + 8;
        if data + metadata.data_len() != length {
            let expected = alloc::format!("a whole .safetensors file of {} bytes", data + metadata.data_len());
            return Err(Error::file(name, expected, alloc::format!("{length} bytes")));
        }
        for (tensor, info) in metadata.tensors() {
            Shape::new(&info.shape).map_err(|_| foreign(alloc::format!("{tensor} of shape {:?}", info.shape)))?;
        }
        Ok(ModelFile { name: name.to_string(), bytes, metadata, data })
    }

    /// Returns the bytes of the whole file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Returns a string from the file's metadata, or `None` if it does not exist.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Returns a string from the file's metadata that must exist.
    ///
    /// # Errors
    /// Returns [`Error::File`] if it does not exist.
    pub fn required_metadata(&self, key: &str) -> Result<&str> {
        self.metadata(key).ok_or_else(|| {
            Error::file(
                &self.name,
                alloc::format!("metadata {key:?}, as percept's model files have"),
                "none of that name",
            )
        })
    }

    /// Returns the type and the bytes of a tensor.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the tensor does not exist.
    pub fn raw(&self, tensor: &str) -> Result<(Dtype, &[u8])> {
        let info = self.metadata.info(tensor);
        let info =
            info.ok_or_else(|| Error::file(&self.name, alloc::format!("a tensor {tensor}"), "none of that name"))?;
        let (from, to) = info.data_offsets;
        Ok((info.dtype, &self.bytes.as_ref()[self.data + from..self.data + to]))
    }
}

/// Returns the kind and the configuration of a model file, from its metadata.
///
/// # Errors
/// Returns [`Error::File`] if the metadata lacks either of them.
pub fn kind_and_config<B: AsRef<[u8]> + Sync>(file: &ModelFile<B>) -> Result<(&str, &str)> {
    Ok((file.required_metadata("percept.kind")?, file.required_metadata("percept.config")?))
}

impl<B: AsRef<[u8]> + Sync> WeightSource for ModelFile<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn tensors(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        Shape::new(&self.metadata.info(tensor)?.shape).ok()
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        let (dtype, bytes) = self.raw(tensor)?;
        if dtype.bitsize() * out.len() != bytes.len() * 8 {
            return Err(Error::shape(
                tensor,
                alloc::format!("{} elements", out.len()),
                alloc::format!("{} bytes of {dtype}", bytes.len()),
            ));
        }
        to_f32(dtype, bytes, out).map_err(|error| error.within(tensor).within(&self.name))
    }
}

/// Converts little-endian elements of a type to `f32`, until `bytes` or `out` ends.
///
/// # Errors
/// Returns [`Error::File`] if the type is not F16, BF16, F32, F64 or I64.
pub fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    match dtype {
        Dtype::F32 => decode(bytes, out, f32::from_le_bytes),
        Dtype::F16 => decode(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => decode(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => decode(bytes, out, |b| f64::from_le_bytes(b) as f32),
        Dtype::I64 => decode(bytes, out, |b| i64::from_le_bytes(b) as f32),
        other => return Err(Error::file("dtype", "F16, BF16, F32, F64 or I64", other)),
    }
    Ok(())
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (value, chunk) in out.iter_mut().zip(chunks) {
        *value = convert(*chunk);
    }
}
