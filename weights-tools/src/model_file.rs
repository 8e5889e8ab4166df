//! Writes percept's model files, which are .safetensors files with metadata, tensor by tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use percept::{Error, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::rounding::Float;
use crate::text::hex;

/// A tensor to write.
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
    /// Returns the size of its elements in bytes.
    pub fn byte_len(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * (self.float.dtype().bitsize() / 8) as u64
    }
}

/// A writer of a model file: the header, then each tensor in order.
///
/// The metadata holds the SHA-256 of each tensor's bytes. The hashes are known only at the end, so the header
/// holds zeros until then.
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
    /// Writes the header of a file. Errors call the file `name`.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the header cannot be written.
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

    /// Writes bytes of the current tensor.
    ///
    /// # Errors
    /// Returns [`Error::File`] if they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| self.failed(error))
    }

    /// Ends the current tensor, which has this index in the plan.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the number of bytes written differs from the plan.
    pub fn end_tensor(&mut self, index: usize) -> Result<()> {
        let planned = &self.planned[index];
        if self.written != planned.byte_len() {
            return Err(Error::file(&planned.name, format!("{} bytes", planned.byte_len()), self.written));
        }
        self.hashes[index] = hex(&std::mem::take(&mut self.hash).finalize());
        self.written = 0;
        Ok(())
    }

    /// Writes the final header, with the hashes and with a new value for a metadata key. The new value must be as
    /// long as the old one.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the header cannot be written, or if its length changes.
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

    /// Returns the header, preceded by its length. The length does not depend on the values of the hashes.
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
        // Elements must begin at a multiple of 8.
        text.resize(text.len().next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text].concat()
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::file(&self.name, "a file that can be written", error)
    }
}
