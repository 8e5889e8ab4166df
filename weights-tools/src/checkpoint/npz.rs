//! Reads NumPy's `.npz` archives: zips of `.npy` files, each of which is a short header and the elements.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use percept::{Error, Result};
use zip::{CompressionMethod, ZipArchive};

use super::{Bytes, Checkpoint, Dtype, MAX_RANK, MAX_RATIO, Tensor, map_file, unreadable};

/// The longest header that is read, in bytes. NumPy itself reads 10,000 bytes, and writes 118 for an array of four
/// dimensions.
const MAX_HEADER: usize = 4096;
/// The maximum size of an array in bytes: four times that of an array of RCDM or of a large transformer.
const MAX_ARRAY: u64 = 4 << 30;

type Archive = ZipArchive<Cursor<Shared>>;

/// A file that several readers share.
#[derive(Clone)]
struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Opens an `.npz`. Returns `None` if the zip archive is not one: PyTorch's archives contain no `.npy`.
///
/// # Errors
/// Returns [`Error::File`] if an array's header cannot be read, or describes values that no model of percept has:
/// strings, objects or big-endian numbers.
pub fn open(path: &Path) -> Result<Option<Checkpoint>> {
    let file = Arc::new(map_file(path)?);
    let Ok(mut archive) = ZipArchive::new(Cursor::new(Shared(file.clone()))) else {
        return Ok(None);
    };
    let names = archive.file_names().map(|name| name.map(|name| name.into_owned()));
    let names: Vec<String> = names.collect::<std::result::Result<_, _>>().map_err(|error| unreadable(path, error))?;
    if !names.iter().any(|name| name.ends_with(".npy")) || names.iter().any(|name| name.ends_with("data.pkl")) {
        return Ok(None);
    }
    let mut tensors = Vec::new();
    for name in names {
        let Some(array) = name.strip_suffix(".npy") else { continue };
        let tensor = array_of(&file, &mut archive, &name);
        let tensor = tensor.map_err(|error| Error::file(path.display(), format!("an array {array}"), error))?;
        tensors.push(Tensor { name: array.to_string(), ..tensor });
    }
    let name = path.display().to_string();
    Ok(Some(Checkpoint { name, format: ".npz of NumPy", metadata: BTreeMap::new(), tensors }))
}

/// Reads the header of one array in the archive. The elements stay in the file.
fn array_of(file: &Arc<Mmap>, archive: &mut Archive, entry: &str) -> io::Result<Tensor> {
    let mut array = archive.by_name(entry)?;
    let (size, stored, compression) = (array.size(), array.compressed_size(), array.compression());
    let header = Header::read(&mut array)?;
    let data_start = array.data_start();
    drop(array);
    let elements = header.shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let bytes = elements.and_then(|elements| elements.checked_mul(header.dtype.bitsize() / 8));
    let whole = bytes.and_then(|bytes| bytes.checked_add(header.length));
    if whole.is_none_or(|whole| whole as u64 != size) || size > MAX_ARRAY || header.shape.len() > MAX_RANK {
        return Err(invalid(format!("{:?} of {:?} in {size} bytes", header.shape, header.dtype)));
    }
    if size > stored.saturating_mul(MAX_RATIO).saturating_add(MAX_RATIO) {
        return Err(invalid(format!("{size} bytes, compressed to {stored}: more than deflate can")));
    }
    let start = data_start.and_then(|start| usize::try_from(start).ok()).map(|start| start + header.length);
    let range = start.map(|start| start..start + (size as usize - header.length));
    let bytes = match range {
        // `numpy.savez` does not compress, so the elements can be read in place.
        Some(range) if compression == CompressionMethod::Stored && !header.fortran_order && size == stored => {
            if range.end > file.len() {
                return Err(invalid(format!("bytes to {} of a file of {}", range.end, file.len())));
            }
            Bytes::Mapped { file: file.clone(), range }
        }
        _ => {
            let (archive, entry, header) = (archive.clone(), entry.to_string(), header.clone());
            Bytes::Gathered(Arc::new(move || gather(archive.clone(), &entry, &header, size)))
        }
    };
    Ok(Tensor { name: String::new(), dtype: header.dtype, shape: header.shape, bytes })
}

/// Returns the elements of an array in row-major order.
fn gather(mut archive: Archive, entry: &str, header: &Header, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than expected reveals an entry that is too long. Memory grows only with the bytes that are
    // really there.
    archive.by_name(entry)?.take(size + 1).read_to_end(&mut bytes)?;
    bytes.drain(..header.length.min(bytes.len()));
    if !header.fortran_order || bytes.len() as u64 + header.length as u64 != size {
        return Ok(bytes);
    }
    // A column-major array is a row-major array of the reversed shape. Its element [.., j, i] there is element
    // [i, j, ..] here.
    let width = header.dtype.bitsize() / 8;
    let mut strides = vec![1; header.shape.len()];
    for dim in 1..header.shape.len() {
        strides[dim] = strides[dim - 1] * header.shape[dim - 1];
    }
    let mut gathered = Vec::with_capacity(bytes.len());
    let mut index = vec![0; header.shape.len()];
    for _ in 0..bytes.len() / width {
        let place: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        gathered.extend_from_slice(&bytes[place * width..(place + 1) * width]);
        for dim in (0..index.len()).rev() {
            index[dim] += 1;
            if index[dim] < header.shape[dim] {
                break;
            }
            index[dim] = 0;
        }
    }
    Ok(gathered)
}

/// The header of an array: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
#[derive(Clone)]
struct Header {
    /// The number of bytes before the elements.
    length: usize,
    dtype: Dtype,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut start = [0; 8];
        from.read_exact(&mut start)?;
        if start[..6] != *b"\x93NUMPY" {
            return Err(invalid("no header of NumPy".to_string()));
        }
        // Version 1 stores the length in two bytes, later versions in four.
        let mut length = [0; 4];
        let width = if start[6] == 1 { 2 } else { 4 };
        from.read_exact(&mut length[..width])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(invalid(format!("a header of {length} bytes, of at most {MAX_HEADER}")));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text)?;
        let text = String::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
        Header::parse(&text, 8 + width + length).ok_or_else(|| invalid(format!("a header {:?}", text.trim_end())))
    }

    /// Parses a dictionary with three keys in any order. A parser of all Python literals is not needed, and would
    /// have to limit nesting.
    fn parse(text: &str, length: usize) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut dtype, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, value) = rest.strip_prefix('\'')?.split_once("':")?;
            let value = value.trim_start();
            // A shape contains commas.
            let end =
                if value.starts_with('(') { value.find(')')? + 1 } else { value.find(',').unwrap_or(value.len()) };
            let (value, behind) = value.split_at(end);
            match key {
                "descr" => dtype = Some(dtype_of(value.trim().strip_prefix('\'')?.strip_suffix('\'')?)?),
                "fortran_order" => fortran_order = Some(value.trim().to_lowercase().parse().ok()?),
                "shape" => shape = Some(dims_of(value)?),
                _ => return None,
            }
            rest = behind.trim_start().strip_prefix(',').unwrap_or(behind).trim_start();
        }
        Some(Header { length, dtype: dtype?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// Parses a shape: `(3, 4)`, `(3,)` or `()`.
fn dims_of(tuple: &str) -> Option<Vec<usize>> {
    let inside = tuple.strip_prefix('(')?.strip_suffix(')')?.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.is_empty() {
        return Some(Vec::new());
    }
    inside.split(',').map(|dim| dim.trim().parse().ok()).collect()
}

fn dtype_of(descr: &str) -> Option<Dtype> {
    Some(match descr {
        "<f8" => Dtype::F64,
        "<f4" => Dtype::F32,
        "<f2" => Dtype::F16,
        "<i8" => Dtype::I64,
        "<i4" => Dtype::I32,
        "<i2" => Dtype::I16,
        "|i1" => Dtype::I8,
        "<u8" => Dtype::U64,
        "<u4" => Dtype::U32,
        "<u2" => Dtype::U16,
        "|u1" => Dtype::U8,
        "|b1" => Dtype::BOOL,
        _ => return None,
    })
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
