//! Reads `torch.save` files with the reader of the burn project, which limits the pickle's size and depth, the
//! copies of its memo, and a tensor's bytes relative to its storage's.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use pytorch_reader::{DType, FileFormat, PytorchReader};
use zip::ZipArchive;

use super::{Bytes, Checkpoint, Dtype, MAX_RANK, MAX_RATIO, Tensor, map_file, open_file, pickle, unreadable};
use percept::{Error, Result};

/// The size in bytes that a tensor may have in a file of any length, because a view can repeat one row.
const MAX_VIEW: u64 = 1 << 20;

/// The maximum ratio of a pickle's length to its length in the archive. Each of its bytes may become a value of a
/// hundred bytes. `torch.save` does not compress, and zip reduces the pickle of a checkpoint to a fourth.
const MAX_PICKLE_RATIO: u64 = 8;
/// The length of a pickle, in bytes, up to which any ratio is allowed.
const SHORT_PICKLE: u64 = 1 << 18;
/// The longest pickle that the reader reads, in bytes.
const MAX_PICKLE: u64 = 100 << 20;

/// Opens a `torch.save` file that is not a zip archive: pickles in a row followed by elements, or a tar archive
/// whose pickles lie between headers of 512 bytes.
///
/// # Errors
/// Returns [`Error::File`](percept::Error::File) if the file is neither, or if its pickles would take too much
/// memory.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let file = map_file(path)?;
    for pickles in parts(&file) {
        pickle::check(pickles).map_err(|found| unreadable(path, found))?;
    }
    read(path)
}

/// Returns the entries of a tar archive, or the whole of any other file. Each entry follows a block that states
/// its length in octal digits.
fn parts(file: &[u8]) -> Vec<&[u8]> {
    const BLOCK: usize = 512;
    let mut parts = Vec::new();
    let mut rest = file;
    while let Some((header, behind)) = rest.split_at_checked(BLOCK).filter(|(header, _)| header[257..262] == *b"ustar")
    {
        let digits = header[124..136].iter().take_while(|byte| byte.is_ascii_digit());
        let length =
            digits.fold(0usize, |length, digit| length.saturating_mul(8).saturating_add(usize::from(digit - b'0')));
        let length = length.min(behind.len());
        parts.push(&behind[..length]);
        rest = behind.get(length.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    if parts.is_empty() { vec![file] } else { parts }
}

fn read(path: &Path) -> Result<Checkpoint> {
    let length = open_file(path)?.metadata().map_err(|error| unreadable(path, error))?.len();
    let reader = PytorchReader::new(path).map_err(|error| unreadable(path, error))?;
    let format = match reader.metadata().format_type {
        FileFormat::Zip => "PyTorch, zip",
        FileFormat::Legacy => "PyTorch before 1.6, a stream of pickles",
        FileFormat::Tar => "PyTorch before 0.1.10, tar",
        FileFormat::Pickle => "a pickle",
    };
    let tensors: Vec<Tensor> = reader.into_tensors().into_values().map(tensor).collect();
    if tensors.is_empty() {
        return Err(unreadable(path, format!("{format}, without a tensor")));
    }
    // A view with strides of zero can have any size, even in a file of 400 bytes.
    let most = length.saturating_mul(MAX_RATIO).saturating_add(MAX_VIEW);
    if let Some(odd) = tensors.iter().find(|tensor| tensor.byte_len() as u64 > most || tensor.shape.len() > MAX_RANK) {
        let expected = format!("tensors of at most {MAX_RANK} dimensions and {most} bytes, in a file of {length}");
        let got = format!("{} of {} dimensions and {} bytes", odd.name, odd.shape.len(), odd.byte_len());
        return Err(Error::file(path.display().to_string(), expected, got));
    }
    Ok(Checkpoint { name: path.display().to_string(), format, metadata: BTreeMap::new(), tensors })
}

/// Opens a zip archive of `torch.save`, unless its pickle is short in the archive and long once it is
/// decompressed.
///
/// # Errors
/// Returns [`Error::File`](percept::Error::File) if the file is not such an archive, or if its pickle would take
/// too much memory.
pub fn open_archive(path: &Path) -> Result<Checkpoint> {
    // The reader reports what is wrong with a broken archive.
    let Ok(mut archive) = ZipArchive::new(BufReader::new(open_file(path)?)) else { return read(path) };
    let mut pickles = Vec::new();
    for index in 0..archive.len() {
        let Ok(entry) = archive.by_index_raw(index) else { continue };
        let (size, stored) = (entry.size(), entry.compressed_size());
        let is_pickle = entry.name().is_ok_and(|name| name.ends_with("data.pkl"));
        if is_pickle && size > SHORT_PICKLE.max(stored.saturating_mul(MAX_PICKLE_RATIO)) {
            let expected = format!("a pickle of at most {MAX_PICKLE_RATIO} times its {stored} bytes in the archive");
            return Err(Error::file(path.display().to_string(), expected, format!("{size} bytes")));
        }
        if is_pickle {
            pickles.push(index);
        }
    }
    for index in pickles {
        let mut bytes = Vec::new();
        // The reader reports a pickle that cannot be decompressed, and does not read past `MAX_PICKLE`.
        let whole = archive.by_index(index).map(|entry| entry.take(MAX_PICKLE).read_to_end(&mut bytes));
        if matches!(whole, Ok(Ok(_))) {
            pickle::check(&bytes).map_err(|found| unreadable(path, found))?;
        }
    }
    read(path)
}

fn tensor(tensor: pytorch_reader::Tensor) -> Tensor {
    let (name, dtype, shape, read) = tensor.into_parts();
    Tensor { name, dtype: dtype_of(dtype), shape, bytes: Bytes::Gathered(Arc::new(read)) }
}

fn dtype_of(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
