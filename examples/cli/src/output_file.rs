//! The output file of the commands that sample.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use image::RgbImage;
use percept::images;
use percept::images::grid::Grid;
use percept::{Error, Result};

use crate::record::Record;
use crate::terminal::print;

#[derive(Args)]
pub struct OutputArguments {
    /// Output file: FILE.png for a labelled grid, or FILE.npz for the samples alone
    ///
    /// The text chunks of FILE.png record how the grid was made. FILE.npz holds all samples as arr_0, uint8
    /// [N, H, W, 3], in order of bundle, picture and sample.
    #[arg(short, long, value_name = "FILE", default_value = "percept.png")]
    output: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Npz,
}

impl OutputArguments {
    /// Returns the format that the file's name selects. Checks that the file can be written and is none of the pictures
    /// that are read.
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
        // The temporary file has no name and is deleted at once.
        tempfile::tempfile_in(folder).map_err(|error| Error::file(&at, "a folder that can be written to", error))?;

        let Ok(written) = fs::canonicalize(path) else { return Ok(format) };
        match pictures.iter().find(|picture| fs::canonicalize(picture).is_ok_and(|read| read == written)) {
            Some(picture) => Err(Error::file(at, "another file than the pictures", picture.display())),
            None => Ok(format),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.output
    }

    /// Writes a grid, with its record as text chunks.
    pub fn write_grid(&self, grid: &Grid, record: &Record) -> Result<()> {
        let text = record.text();
        let text: Vec<(&str, &str)> = text.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        images::write_png(&self.output, &grid.render()?, &text)
    }

    /// Writes the samples alone.
    pub fn write_samples(&self, samples: &[RgbImage]) -> Result<()> {
        images::write_npz(&self.output, samples)
    }

    /// Prints what was written.
    pub fn tell(&self, record: &Record, what: &str, seconds: f64) -> Result<()> {
        match self.json {
            true => print(record.json(&self.output, seconds)),
            false => print(format_args!("{}: {what}, {seconds:.1} s", self.output.display())),
        }
    }
}
