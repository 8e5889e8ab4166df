//! Reads golden files and compares computed tensors with theirs.

use std::path::{Path, PathBuf};

use super::Computed;
use crate::tensor::{Shape, Tensor};
use crate::weights::OpenModel;
use crate::weights::{Synthetic, WeightSource};
use crate::{Error, Result};

/// An open golden file.
pub(super) struct Golden {
    file: OpenModel,
    folder: PathBuf,
}

impl Golden {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Golden::of(path, OpenModel::open(path)?))
    }

    /// Creates a golden from an open file and its path.
    pub(super) fn of(path: &Path, file: OpenModel) -> Self {
        Golden { file, folder: path.parent().unwrap_or(Path::new("")).to_path_buf() }
    }

    pub(super) fn name(&self) -> &str {
        self.file.name()
    }

    /// Returns the metadata's `kind`.
    pub(super) fn kind(&self) -> Result<&str> {
        self.file.required_metadata("kind")
    }

    pub(super) fn config(&self) -> Result<&str> {
        self.file.required_metadata("config")
    }

    /// Returns the weights: synthetic ones as listed in the metadata's `weights`, or those of the metadata's
    /// `weights_file` in the folder of the golden.
    pub(super) fn weights(&self) -> Result<Box<dyn WeightSource>> {
        match (self.file.metadata("weights"), self.file.metadata("weights_file")) {
            (Some(listed), _) => Ok(Box::new(Synthetic::from_json(listed)?)),
            (None, Some(file)) => Ok(Box::new(OpenModel::open(self.folder.join(file))?)),
            (None, None) => Err(Error::file(self.file.name(), "metadata weights or weights_file", "neither")),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn has(&self, tensor: &str) -> bool {
        self.file.shape(tensor).is_some()
    }

    pub(super) fn shape(&self, tensor: &str) -> Result<Shape> {
        self.file.shape(tensor).ok_or_else(|| Error::file(self.file.name(), format!("a tensor {tensor}"), "none"))
    }

    /// Reads a tensor as `f32`, in PyTorch's layout.
    pub(super) fn tensor(&self, tensor: &str) -> Result<Tensor> {
        Tensor::new(self.shape(tensor)?, self.file.tensor(tensor)?)
    }

    /// Reads an image `[n, c, h, w]` as `[n, h, w, c]`.
    pub(super) fn image(&self, tensor: &str) -> Result<Tensor> {
        self.tensor(tensor)?.permute([0, 2, 3, 1])
    }

    /// Reads a tensor of non-negative integers.
    pub(super) fn integers(&self, tensor: &str) -> Result<Vec<u32>> {
        let values = self.tensor(tensor)?.into_data();
        match values.iter().find(|value| value.fract() != 0.0 || **value < 0.0) {
            Some(value) => {
                Err(Error::file(format!("{}: {tensor}", self.file.name()), "whole numbers from 0 on", value))
            }
            None => Ok(values.into_iter().map(|value| value as u32).collect()),
        }
    }

    /// Returns the names of the tensors to compare: all except the inputs, and only those that contain `only`.
    pub(super) fn wanted(&self, only: Option<&str>) -> Vec<String> {
        let mut names = self.file.tensors();
        names.retain(|name| !name.starts_with("in.") && only.is_none_or(|only| name.contains(only)));
        names.sort();
        names
    }

    /// Compares a computed tensor with the golden's. Returns its error, and a description of any problem besides.
    pub(super) fn compare(&self, tensor: &str, got: &Computed) -> Result<(f64, String)> {
        let (dtype, bytes) = got.bytes();
        let (want_dtype, want) = self.file.raw(tensor)?;
        if (dtype, bytes.len()) != (want_dtype, want.len()) {
            let detail = format!("got {} bytes of {dtype}, want {} of {want_dtype}", bytes.len(), want.len());
            return Ok((f64::NAN, detail));
        }
        Ok(match got {
            Computed::Floats(got) => {
                let (want, _) = want.as_chunks::<4>();
                let want = want.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
                (relative_error(got.iter().map(|&x| f64::from(x)), want), String::new())
            }
            Computed::Doubles(got) => {
                let want = want.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
                (relative_error(got.iter().copied(), want), String::new())
            }
            Computed::Integers(got) => {
                let want = want.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
                let different = got.iter().zip(want).filter(|(got, want)| **got != *want).count();
                if different == 0 { (0.0, String::new()) } else { (f64::INFINITY, format!("{different} differ")) }
            }
            Computed::Bytes(got) => {
                let worst = got.iter().zip(want).map(|(got, want)| got.abs_diff(*want)).max().unwrap_or(0);
                let different = got.iter().zip(want).filter(|(got, want)| got != want).count();
                let share = different as f64 / got.len().max(1) as f64;
                if worst <= 1 { (share, String::new()) } else { (f64::INFINITY, format!("a byte differs by {worst}")) }
            }
        })
    }
}

/// Returns `|got - want|_2 / |want|_2`, or `|got|_2` if `want` is zero.
fn relative_error(got: impl Iterator<Item = f64>, want: impl Iterator<Item = f64>) -> f64 {
    let (difference, norm) = got.zip(want).fold((0.0, 0.0), |(difference, norm), (got, want)| {
        (difference + (got - want) * (got - want), norm + want * want)
    });
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}
