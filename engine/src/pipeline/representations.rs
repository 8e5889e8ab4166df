//! Representations of pictures to files that other programs read.

use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use zip::ZipWriter;

use super::output::{npy_header, replace_file_by, stored};
use crate::{Error, Result};

/// What representations are of, and what made them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Representations {
    /// Elements of each.
    pub dim: usize,
    /// What the pictures are called, in order.
    pub names: Vec<String>,
    /// What made them, as pairs of a keyword and a text: the layer, the preprocessing, the models.
    pub metadata: Vec<(String, String)>,
}

/// What a file holds, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Safetensors,
    JsonLines,
}

impl Representations {
    /// Writes a file whose format follows from its name, row by row as they come; one of that name is replaced when all are there.
    ///
    /// - `.npy`: the values alone, `float32` `[N, dim]`.
    /// - `.npz`: the values as `h`, the names as `names`, the metadata as JSON in `metadata`.
    /// - `.safetensors`: the values as `h`; the metadata as metadata, with the names as a JSON array.
    /// - `.jsonl`: a JSON object a line and picture: `name`, `h`, and the metadata.
    ///
    /// # Errors
    /// [`Error::Config`] where the name ends otherwise, [`Error::Shape`] where there is no picture, there are not as many rows as
    /// names or one is not of `dim` elements, [`Error::File`] where the file cannot be written; and the rows' own.
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

    /// Whether a file of this name can be written, so that it is known before pictures are encoded.
    ///
    /// # Errors
    /// [`Error::Config`] with the names that can.
    pub fn check_name(path: &Path) -> Result<()> {
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

    /// What comes before the rows of a .safetensors file.
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
    /// The rows' bytes.
    Rows(W),
    /// The same in an archive, with names and metadata behind them.
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

/// An array of texts in numpy's format: UTF-32, all as long as the longest, padded with zeros.
fn texts(texts: &[String], shape: &[usize]) -> Vec<u8> {
    let length = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut array = npy_header(&format!("<U{length}"), shape);
    for text in texts {
        let letters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(length);
        letters.for_each(|letter| array.extend(letter.to_le_bytes()));
    }
    array
}
