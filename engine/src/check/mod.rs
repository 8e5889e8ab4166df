//! Golden files: reference cases from PyTorch, run on any device.
//!
//! A golden is a .safetensors file whose metadata says what to build (`kind`, `config`, and `weights` or
//! `weights_file`) and whose tensors `in.*`, `out.*`, `tap.*` say what goes in and what has to come out.
//! The repository's tests run them, and so does `percept check`, on whatever device a user has. [`Network`] runs
//! the same networks, and those of model files, to see what they cost, as `percept bench` does.

mod gauge;
mod golden;
mod input;
mod models;
mod network;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

use crate::pipeline::Device;
use crate::weights::WeightRounding;
use crate::{Error, Precision, Result};
pub use gauge::Gauge;
use golden::Golden;
pub use network::Network;

/// Bound of one forward pass in f32: relative error in the 2-norm.
pub const FORWARD_BOUND: f64 = 1e-4;
/// Bound of one forward pass in f16.
pub const FORWARD_BOUND_F16: f64 = 1e-2;
/// Bound of a whole sampling run in f32.
pub const SAMPLING_BOUND: f64 = 1e-3;
/// Bound of schedules in f64.
pub const SCHEDULE_BOUND: f64 = 1e-12;
/// Share of bytes of a crop that may differ, each by at most 1.
pub const CROP_BOUND: f64 = 0.01;

/// What to check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only tensors whose name contains this.
    pub only: Option<String>,
    /// A folder for what was computed, as files of the goldens' names.
    pub out: Option<PathBuf>,
}

/// How a golden fared.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The golden's path.
    pub file: String,
    /// One entry per tensor checked.
    pub tensors: Vec<TensorReport>,
    /// What storing the network's weights in half precision did to them, where they were.
    pub rounding: Option<WeightRounding>,
}

impl Report {
    /// Whether every tensor is within its bound, and there is one.
    pub fn passed(&self) -> bool {
        !self.tensors.is_empty() && self.tensors.iter().all(TensorReport::passed)
    }
}

/// How a tensor fared.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// Its name in the golden.
    pub name: String,
    /// `|got - want|_2 / |want|_2`; for crops the share of bytes that differ, infinite where one
    /// differs by more than 1; NaN or infinite where it could not be computed.
    pub error: f64,
    /// The largest error that passes.
    pub bound: f64,
    /// What went wrong beside the error; empty where nothing did.
    pub detail: String,
}

impl TensorReport {
    /// Whether the error is within the bound. NaN is not.
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

/// A computed tensor, in the layout and type of the golden's.
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

/// Runs a golden on a device, in the device's precision: one forward pass, that is; sampling runs are `f32`.
///
/// # Errors
/// Where the file is no golden or cannot be run at all: another kind, missing inputs or weights, or a
/// configuration that makes no model. A tensor that is wrong is no error but a part of the report.
pub fn check(path: &Path, device: &Device, options: &Options) -> Result<Report> {
    let golden = Golden::open(path)?;
    let wanted = golden.wanted(options.only.as_deref());
    let mut rounding = None;
    let (computed, bound) = match golden.kind()? {
        kind @ ("resnet" | "vit" | "head" | "unet" | "superres" | "classifier") => {
            let (outputs, of_weights) = models::forward(&golden, kind, device)?;
            rounding = Some(of_weights).filter(|of_weights| of_weights.weights > 0);
            (outputs, if device.precision() == Precision::F16 { FORWARD_BOUND_F16 } else { FORWARD_BOUND })
        }
        // What rounding does to a run is no more than what it does to its passes, and not bounded beside that.
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
        // Of a preprocessing, the bound of bytes is none for floats.
        let bound = if name.starts_with("out.input") { FORWARD_BOUND } else { bound };
        tensors.push(TensorReport { name: name.clone(), error, bound, detail });
    }
    if let Some(folder) = &options.out {
        let computed: Vec<_> = computed.iter().filter(|(name, _)| wanted.contains(name)).collect();
        write(&folder.join(path.file_name().unwrap_or_default()), &golden, &computed)?;
    }
    Ok(Report { file: path.display().to_string(), tensors, rounding })
}

/// Writes what was computed under the names of the golden, whole or not at all.
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
