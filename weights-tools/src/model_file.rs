//! Writes percept's model files: a .safetensors file with metadata, tensor by tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use percept::{Error, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::rounding::Float;

/// A tensor that is to be written.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its type.
    pub float: Float,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Planned {
    /// Bytes of its elements.
    pub fn byte_len(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * (self.float.dtype().bitsize() / 8) as u64
    }
}

/// A model file being written: the header, then each tensor in order.
///
/// The metadata holds the SHA-256 of each tensor's bytes, which are known at the end; until then zeros stand there.
pub struct Writer<'a> {
    name: String,
    file: BufWriter<&'a mut File>,
    metadata: BTreeMap<String, String>,
    planned: Vec<Planned>,
    hashes: Vec<String>,
    hash: Sha256,
    written: u64,
}

impl<'a> Writer<'a> {
    /// Writes the header of a file that errors call `name`.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn new(
        name: &str,
        file: &'a mut File,
        metadata: BTreeMap<String, String>,
        planned: Vec<Planned>,
    ) -> Result<Self> {
        let hashes = vec!["0".repeat(64); planned.len()];
        let file = BufWriter::with_capacity(1 << 20, file);
        let mut writer =
            Writer { name: name.to_string(), file, metadata, planned, hashes, hash: Sha256::new(), written: 0 };
        let header = writer.header();
        writer.file.write_all(&header).map_err(|error| writer.failed(error))?;
        Ok(writer)
    }

    /// Some bytes of the tensor whose turn it is.
    ///
    /// # Errors
    /// [`Error::File`] where they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| self.failed(error))
    }

    /// Ends the tensor of this place in the plan.
    ///
    /// # Errors
    /// [`Error::File`] where it had another number of bytes than planned.
    pub fn end_tensor(&mut self, index: usize) -> Result<()> {
        let planned = &self.planned[index];
        if self.written != planned.byte_len() {
            return Err(Error::file(&planned.name, format!("{} bytes", planned.byte_len()), self.written));
        }
        self.hashes[index] = hex(&std::mem::take(&mut self.hash).finalize());
        self.written = 0;
        Ok(())
    }

    /// Puts the hashes into the header, and a value of the metadata for which a text of the same length stood there.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn finish(mut self, key: &str, value: String) -> Result<()> {
        let length = self.header().len();
        self.metadata.insert(key.to_string(), value);
        let header = self.header();
        if header.len() != length {
            return Err(Error::file(&self.name, format!("a header of {length} bytes"), header.len()));
        }
        let end = self.file.flush().and_then(|()| self.file.seek(SeekFrom::Start(0)));
        end.and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .map_err(|error| self.failed(error))
    }

    /// The length of the header and the header, of the same length whatever the hashes.
    fn header(&self) -> Vec<u8> {
        let hashes = self.planned.iter().zip(&self.hashes);
        let hashes: BTreeMap<&str, &str> =
            hashes.map(|(planned, hash)| (planned.name.as_str(), hash.as_str())).collect();
        let mut metadata = self.metadata.clone();
        metadata.insert("percept.sha256".to_string(), json!(hashes).to_string());
        let mut header = Map::new();
        header.insert("__metadata__".to_string(), json!(metadata));
        let mut begin = 0;
        for planned in &self.planned {
            let end = begin + planned.byte_len();
            let dtype = planned.float.dtype().to_string();
            let about = json!({"dtype": dtype, "shape": planned.shape, "data_offsets": [begin, end]});
            header.insert(planned.name.clone(), about);
            begin = end;
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        // Elements begin at a multiple of 8.
        text.resize(text.len().next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text].concat()
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::file(&self.name, "a file that can be written", error)
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
