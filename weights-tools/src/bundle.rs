//! Writes bundles: an encoder, optionally its head, and the decoder of its representations, in one folder.

use std::path::{Path, PathBuf};

use percept::images::replace_file_by;
use percept::{Bundle, Device, Encoder, Preprocessing, Rcdm};
use percept::{Error, Result};
use serde_json::json;

use crate::checkpoint::sha256;

/// The model files of a bundle.
pub struct Files {
    /// The encoder's model file.
    pub encoder: PathBuf,
    /// The head's model file, if the representation is the head's output.
    pub head: Option<PathBuf>,
    /// The decoder's model file.
    pub decoder: PathBuf,
}

/// The suffix of a bundle file's name.
const SUFFIX: &str = ".bundle.json";

/// Writes the bundle file `out`, named `NAME.bundle.json`, and copies the model files to its folder unless they
/// are already there.
///
/// Opens the models first and checks that they go together. Without `preprocessing`, the bundle uses the one that
/// the encoder's file names.
///
/// # Errors
/// Returns an error if a file is missing or is not the right kind of model, if the models do not go together, or
/// if a file cannot be written. Returns [`Error::Config`] if the name of `out` has another suffix.
pub fn write(out: &Path, files: &Files, preprocessing: Option<Preprocessing>) -> Result<()> {
    if !out.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)) {
        return Err(Error::config("-o", format!("NAME{SUFFIX}"), out.display()));
    }
    let device = Device::cpu()?;
    let encoder = Encoder::open(&files.encoder, files.head.as_deref(), preprocessing, &device)?;
    let bundle = Bundle::of(encoder, Rcdm::open(&files.decoder, &device)?)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| Error::file(folder.display(), "a folder for the bundle", error))?;
    let copied = |file: &Path| copy(file, folder);
    let json = json!({
        "version": 1,
        "encoder": copied(&files.encoder)?,
        "head": files.head.as_deref().map(copied).transpose()?,
        "decoder": copied(&files.decoder)?,
        "preprocessing": bundle.encoder.preprocessing(),
        "layer": bundle.layer,
    });
    let text = serde_json::to_string_pretty(&json).map_err(|error| Error::file(out.display(), "JSON", error))?;
    replace_file_by(out, |file| {
        std::io::Write::write_all(file, format!("{text}\n").as_bytes())
            .map_err(|error| Error::file(out.display(), "a file that can be written", error))
    })
}

/// Copies a file into a folder under its own name, and returns that name.
fn copy(from: &Path, folder: &Path) -> Result<String> {
    let unreadable = |error: std::io::Error| Error::file(from.display(), "a readable file", error);
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Error::file(from.display(), "a file's name", "none"))?;
    let to = folder.join(&name);
    let source = std::fs::canonicalize(from).map_err(unreadable)?;
    if to.exists() {
        // Several bundles may share a folder and an encoder.
        if std::fs::canonicalize(&to).is_ok_and(|there| there == source) || sha256(&to)? == sha256(from)? {
            return Ok(name);
        }
        return Err(Error::file(to.display(), format!("no other file of the name of {}", from.display()), "one"));
    }
    let mut source = std::fs::File::open(source).map_err(unreadable)?;
    replace_file_by(&to, |file| {
        std::io::copy(&mut source, file).map_err(|error| Error::file(to.display(), "a file that can be written", error))
    })?;
    Ok(name)
}
