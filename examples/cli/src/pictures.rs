//! The pictures that the command line names.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use percept::Encoder;
use percept::images;
use percept::{Error, Result};

/// Opens pictures.
pub fn open(paths: &[PathBuf]) -> Result<Vec<RgbImage>> {
    paths.iter().map(images::open).collect()
}

/// Encodes pictures together. Errors name the file.
pub fn encode(encoder: &mut Encoder, paths: &[PathBuf], pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
    encoder.encode_all(pictures).map_err(|error| {
        // Encode each picture alone to find the one that failed.
        let mut alone = paths.iter().zip(pictures);
        let found = alone.find_map(|(path, picture)| Some(encoder.encode(picture).err()?.within(path.display())));
        found.unwrap_or(error)
    })
}

/// Expands file names, folders and patterns to pictures, in order. A picture that is named twice appears twice.
pub fn named(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for path in named {
        let text = path.to_string_lossy();
        if path.is_dir() {
            pictures.extend(of_folder(path)?);
        } else if !path.exists() && text.contains(['*', '?', '[']) {
            let expected = "a pattern of pictures' names";
            let paths = glob::glob(&text).map_err(|error| Error::file(&text, expected, error))?;
            let mut found: Vec<PathBuf> =
                paths.collect::<std::result::Result<_, _>>().map_err(|error| Error::file(&text, expected, error))?;
            if found.is_empty() {
                return Err(Error::file(&text, expected, "one that fits no file"));
            }
            found.sort();
            pictures.extend(found);
        } else {
            pictures.push(path.clone());
        }
    }
    Ok(pictures)
}

/// Returns the pictures of a folder, sorted by name. Skips other files.
fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::file(folder.display(), "a readable folder", error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>().map_err(unreadable)?;
    let extension = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    files.retain(|path| {
        path.is_file() && extension(path).is_some_and(|extension| ["png", "jpg", "jpeg"].contains(&extension.as_str()))
    });
    if files.is_empty() {
        return Err(Error::file(folder.display(), "a folder with a .png, .jpg or .jpeg", "none of these"));
    }
    files.sort();
    Ok(files)
}
