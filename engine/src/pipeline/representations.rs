//! Representations of pictures to files that other programs read.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::output::{npy_header, replace_file};
use crate::{Error, Result};

/// Representations of pictures, and what made them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Representations {
    /// Elements of each.
    pub dim: usize,
    /// What the pictures are called, in order.
    pub names: Vec<String>,
    /// `[names, dim]`
    pub values: Vec<f32>,
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
    /// Writes a file whose format follows from its name; one of that name is replaced.
    ///
    /// - `.npy`: the values alone, `float32` `[N, dim]`.
    /// - `.npz`: the values as `h`, the names as `names`, the metadata as JSON in `metadata`.
    /// - `.safetensors`: the values as `h`; the metadata as metadata, with the names as a JSON array.
    /// - `.jsonl`: a JSON object a line and picture: `name`, `h`, and the metadata.
    ///
    /// # Errors
    /// [`Error::Config`] where the name ends otherwise, [`Error::Shape`] where there is no picture or the values are not
    /// `names` times `dim`, [`Error::File`] where the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = Representations::format(path)?;
        if self.names.is_empty() || self.values.len() != self.names.len() * self.dim {
            let expected = format!("{} x {} values of at least one picture", self.names.len(), self.dim);
            return Err(Error::shape(path.display(), expected, self.values.len()));
        }
        replace_file(path, |file| {
            let mut file = BufWriter::new(file);
            match format {
                Format::Npy => self.npy(&mut file)?,
                Format::Npz => self.npz(&mut file)?,
                Format::Safetensors => file.write_all(&self.safetensors()?)?,
                Format::JsonLines => self.json_lines(&mut file)?,
            }
            file.flush()
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

    fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn npy(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&npy_header("<f4", &[self.names.len(), self.dim]))?;
        to.write_all(&self.bytes())
    }

    fn npz(&self, to: &mut (impl Write + io::Seek)) -> io::Result<()> {
        let large = self.values.len() as u64 * 4 >= u64::from(u32::MAX) / 2;
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
        let mut archive = ZipWriter::new(to);
        archive.start_file("h.npy", options)?;
        self.npy(&mut archive)?;
        archive.start_file("names.npy", options)?;
        archive.write_all(&texts(&self.names, &[self.names.len()]))?;
        archive.start_file("metadata.npy", options)?;
        archive.write_all(&texts(&[Value::Object(self.object()).to_string()], &[]))?;
        archive.finish()?;
        Ok(())
    }

    fn safetensors(&self) -> io::Result<Vec<u8>> {
        let bytes = self.bytes();
        let invalid =
            |error: safetensors::SafeTensorError| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let view = TensorView::new(Dtype::F32, vec![self.names.len(), self.dim], &bytes).map_err(invalid)?;
        let names = ("names".to_string(), json!(self.names).to_string());
        let metadata = self.metadata.iter().cloned().chain([names]).collect();
        safetensors::serialize([("h", view)], Some(metadata)).map_err(invalid)
    }

    fn json_lines(&self, to: &mut impl Write) -> io::Result<()> {
        for (name, h) in self.names.iter().zip(self.values.chunks_exact(self.dim)) {
            let mut object = self.object();
            object.insert("name".to_string(), json!(name));
            object.insert("h".to_string(), json!(h));
            writeln!(to, "{}", Value::Object(object))?;
        }
        Ok(())
    }

    fn object(&self) -> Map<String, Value> {
        self.metadata.iter().map(|(key, text)| (key.clone(), json!(text))).collect()
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
