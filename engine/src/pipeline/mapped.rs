//! Model files mapped into memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use crate::weights::{ModelFile, WeightSource};
use crate::{Error, Result};

/// A model file whose bytes stay on disk until they are read.
pub type MappedModel = ModelFile<Mmap>;

/// Opens a .safetensors file. It must not be changed while it is open.
///
/// # Errors
/// [`Error::File`] where it cannot be read, or is no whole .safetensors file.
pub fn open_model(path: &Path) -> Result<MappedModel> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| Error::file(&name, "a readable .safetensors file", error);
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Error::file(&name, "a .safetensors file", "a folder or device"));
    }
    // SAFETY: the map is only read. That no other program changes the file meanwhile is the caller's
    // part, as documented; every offset was checked against the length at the time of opening.
    let bytes = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
    ModelFile::parse(&name, bytes)
}

/// Reads the configuration of a model file by `parse`, where it is of that kind.
///
/// # Errors
/// [`Error::File`] where the kind differs or the metadata lacks one of the two, and `parse`'s.
pub(super) fn config_of<C>(model: &MappedModel, kind: &str, parse: impl Fn(&str) -> Result<C>) -> Result<C> {
    let (got, config) = crate::weights::kind_and_config(model)?;
    if got != kind {
        return Err(Error::file(model.name(), format!("a model of kind {kind:?}"), format!("{got:?}")));
    }
    parse(config).map_err(|error| error.within(model.name()))
}

/// SHA-256 of a whole model file, in hexadecimal.
pub fn sha256(model: &MappedModel) -> String {
    Sha256::digest(model.bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
