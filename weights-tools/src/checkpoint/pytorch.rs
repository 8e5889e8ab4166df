//! Files of `torch.save`, by the reader of the burn project. It knows limits: of the pickle's size and depth, of what its memo
//! copies, of a tensor's bytes against its storage's.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use pytorch_reader::{DType, FileFormat, PytorchReader};
use zip::ZipArchive;

use super::{Bytes, Checkpoint, Dtype, MAX_RANK, MAX_RATIO, Tensor, map_file, open_file, pickle, unreadable};
use percept::{Error, Result};

/// What a tensor may have in bytes however short the file is: one row may stand for many.
const MAX_VIEW: u64 = 1 << 20;

/// How many times longer a pickle may be than it is in the archive, and what is short enough whatever it is there. Each of its
/// bytes may become a value of a hundred. `torch.save` compresses nothing; zip makes a fourth of a checkpoint's pickle.
const MAX_PICKLE_RATIO: u64 = 8;
const SHORT_PICKLE: u64 = 1 << 18;
/// The longest pickle that the reader reads.
const MAX_PICKLE: u64 = 100 << 20;

/// Opens a file of `torch.save` that is no zip archive: pickles in a row, then elements; or a tar archive, whose pickles lie
/// between headers of 512 bytes.
///
/// # Errors
/// [`Error::File`](percept::Error::File) where it is none, or its pickles are made to fill the memory.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let file = map_file(path)?;
    for pickles in parts(&file) {
        pickle::check(pickles).map_err(|found| unreadable(path, found))?;
    }
    read(path)
}

/// The file; of a tar archive its entries, each behind a block that says how long it is, in octal digits.
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
    // A view with strides of zero is as large as it says, in a file of 400 bytes.
    let most = length.saturating_mul(MAX_RATIO).saturating_add(MAX_VIEW);
    if let Some(odd) = tensors.iter().find(|tensor| tensor.byte_len() as u64 > most || tensor.shape.len() > MAX_RANK) {
        let expected = format!("tensors of at most {MAX_RANK} dimensions and {most} bytes, in a file of {length}");
        let got = format!("{} of {} dimensions and {} bytes", odd.name, odd.shape.len(), odd.byte_len());
        return Err(Error::file(path.display().to_string(), expected, got));
    }
    Ok(Checkpoint { name: path.display().to_string(), format, metadata: BTreeMap::new(), tensors })
}

/// Opens a zip archive of `torch.save`, unless its pickle was made to be short there and long when it is unpacked.
///
/// # Errors
/// [`Error::File`](percept::Error::File) where it is none, or such a one.
pub fn open_archive(path: &Path) -> Result<Checkpoint> {
    // A broken archive is the reader's to name.
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
        // What cannot be unpacked is the reader's to name, and what it does not read of one that is longer is no harm.
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
