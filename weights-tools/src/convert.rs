//! Converts the models of a checkpoint to model files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use percept::Preprocessing;
use percept::error::WeightsReport;
use percept::images::replace_file_by;
use percept::models;
use percept::weights::Rounding;
use percept::{Error, Result};
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Tensor, sha256};
use crate::folding::{fold, fold_norms, without_spectral_norm};
use crate::hyperparameters::{Config, Given, config};
use crate::layouts::Kind;
use crate::layouts::Part;
use crate::model_file::{Planned, Writer};
use crate::recognise::{Model, recognise};
use crate::rounding::{Float, convert, stored_as};
use crate::view::View;

/// The metadata key that names a model file's sources.
const SOURCE: &str = "percept.source";

/// How to convert a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The only part to convert, or `None` for all.
    pub part: Option<Part>,
    /// The preset and flags that the user gives.
    pub given: Given,
    /// True to fold batch norms and spectral norms into the weights.
    pub fold: bool,
    /// The type to store matrices in, or `None` to keep their types.
    pub dtype: Option<Float>,
    /// The preset for preparing the encoder's pictures, or `None` for RCDM's.
    pub preprocessing: Option<String>,
    /// The height and width of the pictures that the encoder reads. `None` stands for 224, or for the size that a
    /// transformer's positions are for.
    pub image_size: Option<u32>,
    /// The name of the weights' licence.
    pub license: Option<String>,
}

/// A model of a checkpoint, and the plan for its model file.
pub struct Conversion {
    /// The model.
    pub model: Model,
    /// Its configuration.
    pub config: Config,
    /// The names of the tensors that the model reads and that have the right shape.
    pub matched: Vec<String>,
    /// The names of the tensors that inference does not use.
    pub dropped: Vec<String>,
    /// The names of the weights that are put together from several tensors.
    pub folded: Vec<String>,
    /// The mismatches between the tensors and the configuration, if any.
    pub faults: Option<WeightsReport>,
    preprocessing: Option<Preprocessing>,
    dtype: Option<Float>,
}

/// A converted tensor.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Its name in the model file.
    pub name: String,
    /// Its type in the model file.
    pub float: Float,
    /// The rounding errors of its elements.
    pub rounding: Rounding,
}

/// Finds the models of a checkpoint and accounts for their tensors, without reading any elements.
///
/// Returns the conversions, and the names of the tensors that no model uses. Missing tensors are not an error
/// here: they are listed in [`Conversion::faults`].
///
/// # Errors
/// Returns [`Error::File`] if there is no model, or none of the requested part. Returns [`Error::Config`] if a
/// configuration cannot be determined.
pub fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<(Vec<Conversion>, Vec<String>)> {
    let mut recognised = recognise(checkpoint)?;
    if let Some(part) = options.part {
        let found: Vec<String> =
            recognised.models.iter().map(|model| format!("{:?}", model.part).to_lowercase()).collect();
        recognised.models.retain(|model| model.part == part);
        if recognised.models.is_empty() {
            let expected = format!("a checkpoint with a {}", format!("{part:?}").to_lowercase());
            return Err(Error::file(checkpoint.name(), expected, format!("one with a {}", found.join(" and a "))));
        }
    }
    let conversions = recognised.models.into_iter().map(|model| Conversion::of(model, checkpoint, options));
    Ok((conversions.collect::<Result<_>>()?, recognised.unused))
}

impl Conversion {
    fn of(mut model: Model, checkpoint: &Checkpoint, options: &Options) -> Result<Self> {
        let mut folded = fold(&mut model.tensors);
        let given = relevant(&options.given, &model);
        let mut config = config(&model, &given).map_err(|error| error.within(checkpoint.name()))?;
        let default = Preprocessing::default();
        let size = options.image_size.or_else(|| native_size(&config)).unwrap_or(default.size());
        let preset = options.preprocessing.as_deref();
        let preprocessing = (model.part == Part::Trunk).then(|| default.with(preset, Some(size))).transpose()?;
        let program = |model: &Model, config: &Config| {
            let view = View::new(checkpoint.name(), &model.tensors);
            let network = models::Model::new(model.kind.name(), &config.json);
            network.map_err(|error| error.within(checkpoint.name()))?.program(&view, 1, size as usize)
        };
        let (mut matched, faults) = match program(&model, &config) {
            Ok((_, matched)) => (matched, None),
            Err(Error::Weights(report)) => (report.matched.clone(), Some(report)),
            Err(error) => return Err(error),
        };
        if options.fold && faults.is_none() {
            folded.extend(fold_norms(&program(&model, &config)?.0, &mut model.tensors, checkpoint.name()));
            config.json = without_spectral_norm(&config.json);
            // A folded model reads other tensors.
            matched = program(&model, &config)?.1;
        }
        let faulty = faults.iter().flat_map(|report| {
            report.unexpected.iter().chain(report.misshaped.iter().map(|wrong| &wrong.at)).map(String::as_str)
        });
        let told: BTreeSet<&str> = matched.iter().map(String::as_str).chain(faulty).collect();
        let dropped = model.tensors.keys().filter(|name| !told.contains(name.as_str())).cloned().collect();
        folded.retain(|name| told.contains(name.as_str()));
        Ok(Conversion { model, config, matched, dropped, folded, faults, preprocessing, dtype: options.dtype })
    }

    /// Reads and converts all tensors that the model uses. Passes their bytes to `take`, and calls `end` with a
    /// tensor's index after its last byte.
    fn convert(
        &self,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
        end: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Converted>> {
        let mut converted = Vec::new();
        for (index, planned) in self.planned().into_iter().enumerate() {
            let tensor = &self.model.tensors[&planned.name];
            let rounding = convert(tensor, planned.float, &mut *take)?;
            end(index)?;
            converted.push(Converted { name: planned.name, float: planned.float, rounding });
        }
        Ok(converted)
    }

    /// Returns the tensors of the file in order: wide elements before narrow ones, so that all are aligned.
    fn planned(&self) -> Vec<Planned> {
        let planned = |name: &String| {
            let tensor: &Tensor = &self.model.tensors[name];
            Planned { name: name.clone(), float: stored_as(tensor, self.dtype), shape: tensor.shape().to_vec() }
        };
        let mut planned: Vec<Planned> = self.matched.iter().map(planned).collect();
        planned.sort_by(|a, b| {
            let width = |planned: &Planned| std::cmp::Reverse(planned.float.dtype().bitsize());
            width(a).cmp(&width(b)).then_with(|| crate::checkpoint::natural(&a.name, &b.name))
        });
        planned
    }

    /// Returns the size of all elements of the file in bytes.
    pub fn byte_len(&self) -> u64 {
        self.planned().iter().map(Planned::byte_len).sum()
    }

    /// Reads and converts everything, and writes nothing. Calls `progress` with the number of bytes of each piece.
    ///
    /// # Errors
    /// Returns [`Error::File`] if a tensor cannot be read or has a type that models do not support.
    pub fn dry_run(&self, progress: &dyn Fn(u64)) -> Result<Vec<Converted>> {
        let mut count = |bytes: &[u8]| {
            progress(bytes.len() as u64);
            Ok(())
        };
        self.convert(&mut count, &mut |_| Ok(()))
    }

    /// Returns the metadata of the model file.
    fn metadata(&self, source: String, license: Option<&str>) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            ("percept.kind".to_string(), self.model.kind.name().to_string()),
            ("percept.config".to_string(), self.config.json.clone()),
            ("percept.version".to_string(), env!("CARGO_PKG_VERSION").to_string()),
            (SOURCE.to_string(), source),
        ]);
        let preprocessing = self.preprocessing.and_then(|preset| serde_json::to_string(&preset).ok());
        let optional = [("percept.preprocessing", preprocessing), ("percept.license", license.map(str::to_string))];
        metadata.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))));
        metadata
    }
}

/// Returns the flags of `--config` that apply to a model.
///
/// A checkpoint with an encoder and a head has one file of flags for both, in which `head` and `dims` are the
/// head's.
fn relevant(given: &Given, model: &Model) -> Given {
    let of_head = |flag: &str| ["head", "dims"].contains(&flag);
    let mut given = given.clone();
    match model.kind {
        Kind::Head(_) => given.flags.retain(|flag, _| of_head(flag)),
        _ => given.flags.retain(|flag, _| !of_head(flag)),
    }
    given
}

/// Returns the image size that a transformer's positions are for.
fn native_size(config: &Config) -> Option<u32> {
    let json: Value = serde_json::from_str(&config.json).ok()?;
    json.get("image")?.as_u64()?.try_into().ok()
}

/// The sources of the models, for `percept.source`: the files, and the location of each model in them.
pub struct Source {
    files: Vec<(PathBuf, OnceLock<Result<String>>)>,
    places: Vec<String>,
}

impl Source {
    /// Creates the sources from the files of a checkpoint and the models that were found in it.
    pub fn new(files: &[PathBuf], conversions: &[Conversion]) -> Self {
        let files = files.iter().map(|path| (path.clone(), OnceLock::new())).collect();
        Source { files, places: conversions.iter().map(|conversion| conversion.model.place.clone()).collect() }
    }

    /// Returns the SHA-256 of each file. If several threads ask for a hash, one of them computes it.
    ///
    /// This takes as long as a conversion, so it is worth a thread of its own.
    ///
    /// # Errors
    /// Returns [`Error::File`] if a file cannot be read.
    pub fn hashes(&self) -> Result<Vec<String>> {
        self.files.iter().map(|(path, hash)| hash.get_or_init(|| sha256(path)).clone()).collect()
    }

    fn text(&self, hashes: &[String]) -> String {
        let file = |((path, _), hash): (&(PathBuf, _), &String)| {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            json!({"file": name, "sha256": hash})
        };
        let files: Vec<Value> = self.files.iter().zip(hashes).map(file).collect();
        json!({"files": files, "places": self.places}).to_string()
    }

    /// Returns a placeholder of the same length as the text, for use before the hashes are known.
    fn blank(&self) -> String {
        self.text(&vec!["0".repeat(64); self.files.len()])
    }
}

/// Writes each model to its path, all of them or none, and returns the converted tensors of each model.
///
/// Calls `refuse` with a model's converted tensors before the model's file is put in place.
///
/// # Errors
/// Returns [`Error::File`] if a tensor cannot be read or a file cannot be written, and every error of `refuse`.
pub fn write(
    conversions: &[(&Conversion, PathBuf)],
    source: &Source,
    license: Option<&str>,
    progress: &dyn Fn(u64),
    refuse: &dyn Fn(&Conversion, &[Converted]) -> Result<()>,
) -> Result<Vec<Vec<Converted>>> {
    let Some(((conversion, path), others)) = conversions.split_first() else { return Ok(Vec::new()) };
    replace_file_by(path, |file| {
        let name = path.display().to_string();
        let writer = Writer::new(&name, file, conversion.metadata(source.blank(), license), conversion.planned())?;
        let writer = std::cell::RefCell::new(writer);
        let mut take = |bytes: &[u8]| {
            progress(bytes.len() as u64);
            writer.borrow_mut().write(bytes)
        };
        let converted = conversion.convert(&mut take, &mut |index| writer.borrow_mut().end_tensor(index))?;
        refuse(conversion, &converted)?;
        writer.into_inner().finish(SOURCE, source.text(&source.hashes()?))?;
        // Writes the other files inside this closure, so that this file is put in place only after they are.
        let mut all = write(others, source, license, progress, refuse)?;
        all.insert(0, converted);
        Ok(all)
    })
}

/// Returns the paths to write the models to: `out` for the first, and `NAME.head.safetensors` for a head beside a
/// trunk.
pub fn paths(conversions: &[Conversion], out: &Path) -> Vec<PathBuf> {
    let beside = |part: Part| {
        let stem = out.file_stem().unwrap_or(out.as_os_str());
        let mut name = OsString::from(stem);
        name.push(format!(".{}", format!("{part:?}").to_lowercase()));
        if let Some(extension) = out.extension() {
            name.push(".");
            name.push(extension);
        }
        out.with_file_name(name)
    };
    let path = |(index, conversion): (usize, &Conversion)| {
        if index == 0 { out.to_path_buf() } else { beside(conversion.model.part) }
    };
    conversions.iter().enumerate().map(path).collect()
}
