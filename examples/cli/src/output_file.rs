//! The file that a command that samples writes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use image::RgbImage;
use percept::pipeline::grid::Grid;
use percept::pipeline::output;
use percept::{Error, Result};

use crate::record::Record;
use crate::terminal::print;

#[derive(Args)]
pub struct OutputArguments {
    /// What to write: FILE.png, a labelled grid, or FILE.npz, the samples alone
    ///
    /// What to write: FILE.png is a labelled grid whose text chunks say how it was made; FILE.npz has all
    /// samples as arr_0, uint8 [N, H, W, 3], in order of bundle, picture, sample.
    #[arg(short, long, value_name = "FILE", default_value = "percept.png")]
    output: PathBuf,
    /// Print one JSON object about what was done
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Npz,
}

impl OutputArguments {
    /// What to write by the file's name, after seeing that it can be written and is none of the pictures that are read.
    pub fn check(&self, pictures: &[PathBuf]) -> Result<Format> {
        let path = &self.output;
        let at = format!("-o {}", path.display());
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let format = match extension.as_deref() {
            Some("png") => Format::Png,
            Some("npz") => Format::Npz,
            other => {
                let got = other.map_or("none of these".to_owned(), |other| format!(".{other}"));
                return Err(Error::config(at, "a name that ends in .png or .npz", got));
            }
        };
        if path.is_dir() {
            return Err(Error::file(at, "a file's name", "a folder"));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(Error::file(at, format!("{} to be a folder", folder.display()), "no such folder"));
        }
        // It has no name and is gone at once.
        tempfile::tempfile_in(folder).map_err(|error| Error::file(&at, "a folder that can be written to", error))?;

        let Ok(written) = fs::canonicalize(path) else { return Ok(format) };
        match pictures.iter().find(|picture| fs::canonicalize(picture).is_ok_and(|read| read == written)) {
            Some(picture) => Err(Error::file(at, "another file than the pictures", picture.display())),
            None => Ok(format),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.output
    }

    /// Writes a grid, with what is to be known about it.
    pub fn write_grid(&self, grid: &Grid, record: &Record) -> Result<()> {
        let text = record.text();
        let text: Vec<(&str, &str)> = text.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        output::write_png(&self.output, &grid.render()?, &text)
    }

    /// Writes the samples alone.
    pub fn write_samples(&self, samples: &[RgbImage]) -> Result<()> {
        output::write_npz(&self.output, samples)
    }

    /// Says what was written.
    pub fn tell(&self, record: &Record, what: &str, seconds: f64) -> Result<()> {
        match self.json {
            true => print(record.json(&self.output, seconds)),
            false => print(format_args!("{}: {what}, {seconds:.1} s", self.output.display())),
        }
    }
}
