//! Golden files: reference cases from PyTorch, run on any device.
//!
//! A golden is a .safetensors file. Its metadata (`kind`, `config`, and `weights` or `weights_file`) defines the
//! network, its tensors `in.*` are the inputs, and its tensors `out.*` and `tap.*` are the expected results. The
//! repository's tests run goldens, and `percept check` runs them on a user's device. [`Network`] runs the same
//! networks, and those of model files, to measure their cost, as `percept bench` does.

mod gauge;
mod golden;
mod input;
mod models;
mod network;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

use crate::device::Device;
use crate::weights::WeightRounding;
use crate::{Error, Precision, Result};
pub use gauge::Gauge;
use golden::Golden;
pub use network::Network;

/// The maximum relative error in the 2-norm of one forward pass in f32.
pub const FORWARD_BOUND: f64 = 1e-4;
/// The maximum relative error of one forward pass in f16.
pub const FORWARD_BOUND_F16: f64 = 1e-2;
/// The maximum relative error of a whole sampling run in f32.
pub const SAMPLING_BOUND: f64 = 1e-3;
/// The maximum relative error of schedules in f64.
pub const SCHEDULE_BOUND: f64 = 1e-12;
/// The maximum share of bytes of a crop that differ, each by at most 1.
pub const CROP_BOUND: f64 = 0.01;

/// Options of [`check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Checks only tensors whose name contains this.
    pub only: Option<String>,
    /// The folder to write the computed tensors to, in files named like the goldens.
    pub out: Option<PathBuf>,
}

/// The result of checking a golden.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The golden's path.
    pub file: String,
    /// The results of the checked tensors.
    pub tensors: Vec<TensorReport>,
    /// The effect of storing the network's weights in half precision, or `None` if no weights were stored so.
    pub rounding: Option<WeightRounding>,
}

impl Report {
    /// Returns true if at least one tensor was checked and all are within their bounds.
    pub fn passed(&self) -> bool {
        !self.tensors.is_empty() && self.tensors.iter().all(TensorReport::passed)
    }
}

/// The result of checking a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// The tensor's name in the golden.
    pub name: String,
    /// `|got - want|_2 / |want|_2`. For crops, the share of bytes that differ, or infinity if a byte
    /// differs by more than 1. NaN or infinity if it could not be computed.
    pub error: f64,
    /// The largest error that passes.
    pub bound: f64,
    /// A description of any other problem, or an empty string.
    pub detail: String,
}

impl TensorReport {
    /// Returns true if the error is within the bound. NaN is not.
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

/// A computed tensor, in the layout and type of the golden's tensor.
enum Computed {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Integers(Vec<i64>),
    Bytes(Vec<u8>),
}

impl Computed {
    fn bytes(&self) -> (Dtype, &[u8]) {
        match self {
            Computed::Floats(values) => (Dtype::F32, bytemuck::cast_slice(values)),
            Computed::Doubles(values) => (Dtype::F64, bytemuck::cast_slice(values)),
            Computed::Integers(values) => (Dtype::I64, bytemuck::cast_slice(values)),
            Computed::Bytes(values) => (Dtype::U8, values),
        }
    }
}

/// Runs a golden on a device and compares the results. A forward pass runs in the device's precision, and a sampling
/// run in `f32`.
///
/// # Errors
/// Returns an error if the file is not a golden or cannot be run: its kind is unknown, inputs or weights are missing,
/// or its configuration is invalid. A wrong tensor is not an error but a part of the report.
pub fn check(path: impl AsRef<Path>, device: &Device, options: &Options) -> Result<Report> {
    let path = path.as_ref();
    let golden = Golden::open(path)?;
    let wanted = golden.wanted(options.only.as_deref());
    let mut rounding = None;
    let (computed, bound) = match golden.kind()? {
        kind @ ("resnet" | "vit" | "head" | "unet" | "superres" | "classifier") => {
            let (outputs, of_weights) = models::forward(&golden, kind, device)?;
            rounding = Some(of_weights).filter(|of_weights| of_weights.weights > 0);
            (outputs, if device.precision() == Precision::F16 { FORWARD_BOUND_F16 } else { FORWARD_BOUND })
        }
        // Goldens of forward passes bound the effect of rounding to `f16`. There is no separate bound for runs.
        "sampler" => (models::sampler(&golden, &device.clone().with_precision(Precision::F32))?, SAMPLING_BOUND),
        "schedule" => (tables::schedules(&golden)?, SCHEDULE_BOUND),
        "preprocess" => (tables::crops(&golden, path)?, CROP_BOUND),
        other => {
            let kinds =
                "a golden of kind resnet, vit, head, unet, superres, classifier, sampler, schedule or preprocess";
            return Err(Error::file(path.display(), kinds, format!("kind {other:?}")));
        }
    };

    let mut tensors = Vec::new();
    for name in &wanted {
        let got = computed.iter().find(|(computed, _)| computed == name);
        let (error, detail) = match got {
            Some((_, got)) => golden.compare(name, got)?,
            None => (f64::NAN, "this kind of golden has no such result".to_string()),
        };
        // The bound for crops applies to bytes. The network's inputs are floats.
        let bound = if name.starts_with("out.input") { FORWARD_BOUND } else { bound };
        tensors.push(TensorReport { name: name.clone(), error, bound, detail });
    }
    if let Some(folder) = &options.out {
        let computed: Vec<_> = computed.iter().filter(|(name, _)| wanted.contains(name)).collect();
        write(&folder.join(path.file_name().unwrap_or_default()), &golden, &computed)?;
    }
    Ok(Report { file: path.display().to_string(), tensors, rounding })
}

/// Writes the computed tensors under their names in the golden, completely or not at all.
fn write(path: &Path, golden: &Golden, computed: &[&(String, Computed)]) -> Result<()> {
    let unwritable = |error: &dyn std::fmt::Display| Error::file(path.display(), "a file that can be written", error);
    let mut views = Vec::new();
    for (name, computed) in computed {
        let (dtype, bytes) = computed.bytes();
        let shape = golden.shape(name)?.to_vec();
        views.push((name, TensorView::new(dtype, shape, bytes).map_err(|error| unwritable(&error))?));
    }
    let bytes = safetensors::serialize(views, None).map_err(|error| unwritable(&error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| unwritable(&error))?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(&error))?;
    fs::write(file.path(), bytes).map_err(|error| unwritable(&error))?;
    file.persist(path).map_err(|error| unwritable(&error))?;
    Ok(())
}
