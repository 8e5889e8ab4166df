//! Reads `float32` arrays from numpy files, row by row.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::{Error, Result};

/// A `float32` array `[rows, ...]` in a `.npy` file, or the first array of an uncompressed `.npz` file. Only the
/// requested rows are read.
pub struct FloatRows {
    name: String,
    file: File,
    /// The offset of the elements in the file.
    at: u64,
    shape: Vec<usize>,
}

impl FloatRows {
    /// Opens a `.npy` or `.npz` file.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be read or does not contain such an array.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let foreign =
            |got: &dyn std::fmt::Display| Error::file(&name, "a .npy or uncompressed .npz file of float32", got);
        let mut file = File::open(path).map_err(|error| foreign(&error))?;
        let mut start = [0; 4];
        file.read_exact(&mut start).map_err(|error| foreign(&error))?;
        let mut at = 0;
        if start == *b"PK\x03\x04" {
            let mut archive = zip::ZipArchive::new(BufReader::new(&file)).map_err(|error| foreign(&error))?;
            let entry = archive.by_index_raw(0).map_err(|error| foreign(&error))?;
            if entry.compression() != zip::CompressionMethod::Stored {
                return Err(foreign(&"an archive that is compressed"));
            }
            at = entry.data_start().ok_or_else(|| foreign(&"an entry without data"))?;
        }
        file.seek(SeekFrom::Start(at)).map_err(|error| foreign(&error))?;
        let mut header = [0; 10];
        file.read_exact(&mut header).map_err(|error| foreign(&error))?;
        if header[..7] != *b"\x93NUMPY\x01" {
            return Err(foreign(&"no array of numpy's format, version 1"));
        }
        let length = u16::from_le_bytes([header[8], header[9]]);
        let mut text = vec![0; usize::from(length)];
        file.read_exact(&mut text).map_err(|error| foreign(&error))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let shape = shape_of(&text).ok_or_else(|| foreign(&text.trim_end()))?;
        at += 10 + u64::from(length);
        let bytes = shape.iter().try_fold(4u64, |bytes, side| bytes.checked_mul(*side as u64));
        let there = file.metadata().map_err(|error| foreign(&error))?.len().saturating_sub(at);
        if bytes.is_none_or(|bytes| bytes > there) {
            return Err(foreign(&format!("{there} bytes for shape {shape:?}")));
        }
        Ok(FloatRows { name, file, at, shape })
    }

    /// Returns the shape of the array.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Reads the elements of the given rows.
    ///
    /// # Errors
    /// Returns [`Error::File`] if they cannot be read, and [`Error::Shape`] if the array does not have these rows.
    pub fn read(&mut self, rows: Range<usize>) -> Result<Vec<f32>> {
        if rows.end > self.shape[0] {
            return Err(Error::shape(&self.name, format!("rows {rows:?}"), format!("shape {:?}", self.shape)));
        }
        let row: usize = self.shape[1..].iter().product();
        let mut bytes = vec![0; rows.len() * row * 4];
        let place = SeekFrom::Start(self.at + (rows.start * row * 4) as u64);
        let read = self.file.seek(place).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|error| Error::file(&self.name, "a file that can be read", error))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// Parses the shape in an array's header. Returns `None` unless the array is little-endian `float32` in C order.
fn shape_of(header: &str) -> Option<Vec<usize>> {
    let value = |key: &str| Some(header.split_once(key)?.1.trim_start_matches([':', ' ']));
    if !value("'descr'")?.starts_with("'<f4'") || !value("'fortran_order'")?.starts_with("False") {
        return None;
    }
    let (sides, _) = value("'shape'")?.strip_prefix('(')?.split_once(')')?;
    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape: Vec<usize> = sides.map(|side| side.parse().ok()).collect::<Option<_>>()?;
    (!shape.is_empty()).then_some(shape)
}
