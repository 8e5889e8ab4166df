//! Pictures to files: PNG with text chunks for people, npz for evaluators.
//!
//! A file is written under another name in the same folder and renamed when it is complete, so that
//! nobody finds half of one.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;
use tempfile::NamedTempFile;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::npz::Rows;
use crate::{Error, Result};

/// Writes a picture as a PNG file whose text chunks are `text`, pairs of a keyword and its text:
/// how the picture was made. ASCII texts become `tEXt` chunks, others `iTXt`. A file of that name is
/// replaced.
///
/// # Errors
/// [`Error::File`] where the file cannot be written, as where its folder does not exist;
/// [`Error::Image`] where the picture has no pixels; [`Error::Config`] where a keyword is not 1 to
/// 79 printable ASCII characters without a space at either end, or a text holds a NUL.
pub fn write_png(path: impl AsRef<Path>, image: &RgbImage, text: &[(&str, &str)]) -> Result<()> {
    let path = path.as_ref();
    if image.is_empty() {
        let got = format!("{} x {}", image.width(), image.height());
        return Err(Error::image(path.display(), "at least 1 x 1 pixels", got));
    }
    let mut info = png::Info::with_size(image.width(), image.height());
    info.color_type = png::ColorType::Rgb;
    info.bit_depth = png::BitDepth::Eight;
    for &(keyword, text) in text {
        let printable = keyword.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable || !(1..=79).contains(&keyword.len()) || keyword.trim() != keyword {
            let expected = "1 to 79 printable ASCII characters without a space at either end";
            return Err(Error::config("PNG text keyword", expected, format!("{keyword:?}")));
        }
        if text.contains('\0') {
            return Err(Error::config(format!("PNG text {keyword}"), "text without NUL", "a NUL"));
        }
        let (keyword, text) = (keyword.to_owned(), text.to_owned());
        if text.is_ascii() {
            info.uncompressed_latin1_text.push(png::text_metadata::TEXtChunk { keyword, text });
        } else {
            info.utf8_text.push(png::text_metadata::ITXtChunk::new(keyword, text));
        }
    }
    replace_file(path, |file| {
        let mut file = BufWriter::new(file);
        let mut writer = png::Encoder::with_info(&mut file, info)?.write_header()?;
        writer.write_image_data(image.as_raw())?;
        writer.finish()?;
        file.flush()
    })
}

/// Writes pictures as an npz file with the one array `arr_0`, `uint8` `[N, H, W, 3]`, which is what
/// evaluators of generated images read. It is not compressed, as by `numpy.savez`. A file of that
/// name is replaced.
///
/// # Errors
/// [`Error::File`] where the file cannot be written, as where its folder does not exist;
/// [`Error::Shape`] where there is no picture, or one has another size than the first.
pub fn write_npz(path: impl AsRef<Path>, images: &[RgbImage]) -> Result<()> {
    let path = path.as_ref();
    let Some((width, height)) = images.first().map(RgbImage::dimensions) else {
        return Err(Error::shape(path.display(), "at least one picture", "none"));
    };
    if let Some(index) = images.iter().position(|image| image.dimensions() != (width, height)) {
        let (other_width, other_height) = images[index].dimensions();
        return Err(Error::shape(
            format!("{}: picture {index}", path.display()),
            format!("{width} x {height} pixels, as the first has"),
            format!("{other_width} x {other_height}"),
        ));
    }
    replace_file_by(path, |file| {
        let failed = |error: io::Error| unwritable(path, error);
        let mut rows = Rows::begin(BufWriter::new(file), images.len(), [width, height]).map_err(failed)?;
        images.iter().try_for_each(|image| rows.push(image.as_raw())).map_err(failed)?;
        rows.end().and_then(|mut file| file.flush()).map_err(failed)
    })
}

/// An entry of so many bytes in an archive, not compressed.
pub(super) fn stored(bytes: u64) -> SimpleFileOptions {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    options.large_file(bytes >= u64::from(u32::MAX))
}

/// The header of an array in numpy's format, version 1.0: a Python dictionary, padded so that the data
/// starts at a multiple of 64 bytes. `descr` is the type of its elements as numpy writes it.
pub(super) fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    const PREFIX: usize = 10;
    // A tuple of one has a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let shape = shape.join(", ");
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    let mut dictionary = dictionary.into_bytes();
    let length = (PREFIX + dictionary.len() + 1).next_multiple_of(64) - PREFIX;
    dictionary.resize(length - 1, b' ');
    dictionary.push(b'\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(dictionary);
    header
}

/// Puts what `write` writes in the place of the file at `path`, all of it or nothing.
pub(super) fn replace_file(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<()> {
    replace_file_by(path, |file| write(file).map_err(|error| unwritable(path, error)))
}

pub(super) fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::file(path.display(), "a file that can be written", error)
}

/// The same for what can fail otherwise than by the file: then nothing is left of it, either.
///
/// # Errors
/// [`Error::File`] where the file cannot be written, and `write`'s.
pub fn replace_file_by<T>(path: &Path, write: impl FnOnce(&mut fs::File) -> Result<T>) -> Result<T> {
    let failed = |error: io::Error| unwritable(path, error);
    let (path_of_file, folder) = destination(path)?;

    let mut builder = tempfile::Builder::new();
    builder.prefix(".percept-");
    // A temporary file is its owner's alone; this one is to be a file like any other, which the
    // umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file: NamedTempFile = builder.tempfile_in(folder).map_err(failed)?;
    let written = write(file.as_file_mut())?;
    // Else the name could reach the disk before what it names.
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path_of_file).map_err(|e| failed(e.error))?;
    Ok(written)
}

/// The file that is to be replaced or made, links followed, and its folder.
pub(super) fn destination(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut file = path.to_owned();
    if let Ok(metadata) = fs::metadata(path) {
        // Renaming over a device would remove the device.
        if !metadata.is_file() {
            let got = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(Error::file(path.display(), "a regular file's name", got));
        }
        file = fs::canonicalize(path).unwrap_or(file);
    }
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => return Err(Error::file(path.display(), "a file's name", "no name")),
    };
    if !folder.is_dir() {
        let expected = format!("{} to be a folder", folder.display());
        return Err(Error::file(path.display(), expected, "no such folder"));
    }
    Ok((file, folder))
}
