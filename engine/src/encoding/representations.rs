//! Writes representations of images to files that other programs read.

use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use zip::ZipWriter;

use crate::images::{npy_header, replace_file_by, stored};
use crate::{Error, Result};

/// The images that representations belong to, and how the representations were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Representations {
    /// The number of elements of each representation.
    pub dim: usize,
    /// The names of the images, in order.
    pub names: Vec<String>,
    /// How the representations were made, as pairs of a keyword and a text: the layer, the preprocessing, the models.
    pub metadata: Vec<(String, String)>,
}

/// A file format, chosen by the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Safetensors,
    JsonLines,
}

impl Representations {
    /// Writes rows to a file as the iterator yields them. The extension of `path` determines the format. Replaces an
    /// existing file once all rows are written.
    ///
    /// - `.npy`: only the values, `float32` `[N, dim]`.
    /// - `.npz`: the values as `h`, the names as `names`, and the metadata as JSON in `metadata`.
    /// - `.safetensors`: the values as `h`, and the metadata as the file's metadata, with the names as a JSON array.
    /// - `.jsonl`: one line per image, a JSON object with `name`, `h`, and the metadata.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if the extension is none of these; [`Error::Shape`] if there are no images, the number
    /// of rows differs from the number of names, or a row does not have `dim` elements; [`Error::File`] if the file
    /// cannot be written; and any error that `rows` yields.
    pub fn write(&self, path: impl AsRef<Path>, rows: impl IntoIterator<Item = Result<Vec<f32>>>) -> Result<()> {
        let path = path.as_ref();
        let format = Representations::format(path)?;
        let odd = |got: String| {
            let expected = format!("{} rows of {} values, of at least one picture", self.names.len(), self.dim);
            Err(Error::shape(path.display(), expected, got))
        };
        if self.names.is_empty() {
            return odd("none".into());
        }
        replace_file_by(path, |file| {
            let failed = |error: io::Error| Error::file(path.display(), "a file that can be written", error);
            let mut to = Writer::begin(self, format, BufWriter::new(file)).map_err(failed)?;
            let mut count = 0;
            for row in rows {
                let row = row?;
                if row.len() != self.dim || count == self.names.len() {
                    return odd(format!("{} values in row {count}", row.len()));
                }
                to.row(&row, count).map_err(failed)?;
                count += 1;
            }
            if count != self.names.len() {
                return odd(format!("{count} rows"));
            }
            to.finish().map_err(failed)
        })
    }

    /// Checks that the extension of `path` is a supported format, so that a caller can fail before encoding images.
    ///
    /// # Errors
    /// Returns [`Error::Config`], which lists the supported extensions, if it is not.
    pub fn check_name(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        Representations::format(path).map(|_| ())
    }

    fn format(path: &Path) -> Result<Format> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("npy") => Ok(Format::Npy),
            Some("npz") => Ok(Format::Npz),
            Some("safetensors") => Ok(Format::Safetensors),
            Some("jsonl") => Ok(Format::JsonLines),
            _ => Err(Error::config("output", "a name that ends in .npy, .npz, .safetensors or .jsonl", path.display())),
        }
    }

    /// Returns the header of a .safetensors file, which precedes the rows.
    fn safetensors_header(&self) -> Vec<u8> {
        let names = ("names".to_string(), json!(self.names).to_string());
        let metadata: Map<String, Value> =
            self.metadata.iter().cloned().chain([names]).map(|(key, text)| (key, json!(text))).collect();
        let (count, dim) = (self.names.len(), self.dim);
        let h = json!({"dtype": "F32", "shape": [count, dim], "data_offsets": [0, count * dim * 4]});
        let mut text = json!({"__metadata__": metadata, "h": h}).to_string().into_bytes();
        // The data begins at a multiple of 8 bytes.
        text.resize(text.len().next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text].concat()
    }

    fn object(&self) -> Map<String, Value> {
        self.metadata.iter().map(|(key, text)| (key.clone(), json!(text))).collect()
    }
}

/// A file that is being written.
struct Writer<'a, W: Write + Seek> {
    of: &'a Representations,
    to: To<W>,
}

enum To<W: Write + Seek> {
    /// The bytes of the rows.
    Rows(W),
    /// The bytes of the rows in an archive, followed by names and metadata.
    Archive(Box<ZipWriter<W>>),
    Lines(W),
}

impl<'a, W: Write + Seek> Writer<'a, W> {
    fn begin(of: &'a Representations, format: Format, mut to: W) -> io::Result<Self> {
        let npy = npy_header("<f4", &[of.names.len(), of.dim]);
        let to = match format {
            Format::Npy => {
                to.write_all(&npy)?;
                To::Rows(to)
            }
            Format::Safetensors => {
                to.write_all(&of.safetensors_header())?;
                To::Rows(to)
            }
            Format::Npz => {
                let bytes = npy.len() + of.names.len() * of.dim * 4;
                let mut archive = ZipWriter::new(to);
                archive.start_file("h.npy", stored(bytes as u64))?;
                archive.write_all(&npy)?;
                To::Archive(Box::new(archive))
            }
            Format::JsonLines => To::Lines(to),
        };
        Ok(Writer { of, to })
    }

    fn row(&mut self, row: &[f32], index: usize) -> io::Result<()> {
        let bytes = || row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        match &mut self.to {
            To::Rows(to) => to.write_all(&bytes()),
            To::Archive(archive) => archive.write_all(&bytes()),
            To::Lines(to) => {
                let mut object = self.of.object();
                object.insert("name".to_string(), json!(self.of.names[index]));
                object.insert("h".to_string(), json!(row));
                writeln!(to, "{}", Value::Object(object))
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.to {
            To::Rows(mut to) | To::Lines(mut to) => to.flush(),
            To::Archive(mut archive) => {
                let metadata = [Value::Object(self.of.object()).to_string()];
                for (name, texts) in [
                    ("names.npy", texts(&self.of.names, &[self.of.names.len()])),
                    ("metadata.npy", texts(&metadata, &[])),
                ] {
                    archive.start_file(name, stored(texts.len() as u64))?;
                    archive.write_all(&texts)?;
                }
                archive.finish()?.flush()
            }
        }
    }
}

/// Encodes an array of texts in numpy's format: UTF-32, padded with zeros to the length of the longest.
fn texts(texts: &[String], shape: &[usize]) -> Vec<u8> {
    let length = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut array = npy_header(&format!("<U{length}"), shape);
    for text in texts {
        let letters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(length);
        letters.for_each(|letter| array.extend(letter.to_le_bytes()));
    }
    array
}
