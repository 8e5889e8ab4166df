//! Model files on disk and in memory.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::ModelFile;
use crate::{Error, Result};

/// The bytes of a model file.
pub struct ModelBytes(Storage);

enum Storage {
    /// A memory-mapped file, whose bytes stay on disk until they are read.
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
}

impl AsRef<[u8]> for ModelBytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Storage::Mapped(map) => map,
            Storage::Memory(bytes) => bytes,
        }
    }
}

/// A model file that is open: mapped from disk, or in memory.
pub type OpenModel = ModelFile<ModelBytes>;

impl OpenModel {
    /// Opens a `.safetensors` file. The file must not be changed while it is open.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be read, or if it is not a complete `.safetensors` file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| Error::file(&name, "a readable .safetensors file", error);
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(Error::file(&name, "a .safetensors file", "a folder or device"));
        }
        // SAFETY: the map is only read. The documentation requires the caller to ensure that no other program
        // changes the file meanwhile. Every offset is checked against the length when the file is opened.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        ModelFile::parse(&name, ModelBytes(Storage::Mapped(map)))
    }

    /// Opens the bytes of a `.safetensors` file that is embedded, downloaded or decrypted. Errors call it `name`.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the bytes are not a complete `.safetensors` file.
    ///
    /// # Examples
    /// ```
    /// use percept::weights::OpenModel;
    ///
    /// static HEAD: &[u8] = include_bytes!("../../../examples/assets/head.safetensors");
    /// let head = OpenModel::from_bytes("head", HEAD)?;
    /// assert_eq!(head.metadata("percept.kind"), Some("head"));
    /// # Ok::<(), percept::Error>(())
    /// ```
    pub fn from_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        ModelFile::parse(name, ModelBytes(Storage::Memory(bytes.into())))
    }

    /// Returns the SHA-256 of the whole file, in hexadecimal.
    pub fn sha256(&self) -> String {
        Sha256::digest(self.bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
