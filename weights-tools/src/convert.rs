//! From a checkpoint to percept's model files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use percept::check::Network;
use percept::error::WeightsReport;
use percept::pipeline::Preprocessing;
use percept::pipeline::output::replace_file_by;
use percept::weights::Rounding;
use percept::{Error, Result};
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Tensor, sha256};
use crate::folding::{fold, fold_norms, without_spectral_norm};
use crate::hyperparameters::{Config, Given, config};
use crate::layouts::Kind;
use crate::model_file::{Planned, Writer};
use crate::recognise::{Model, Part, recognise};
use crate::rounding::{Float, convert, stored_as};
use crate::view::View;

/// The metadata that says what a model file was made of.
const SOURCE: &str = "percept.source";

/// How a checkpoint is to be converted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this part of it.
    pub part: Option<Part>,
    /// What is told of the model.
    pub given: Given,
    /// Whether batch norms and spectral norms are folded into the weights.
    pub fold: bool,
    /// What matrices are stored as; without it as they are.
    pub dtype: Option<Float>,
    /// The preset by which the encoder's pictures are to be prepared; without it RCDM's.
    pub preprocessing: Option<String>,
    /// Height and width of the pictures that the encoder reads; without it 224, or what a transformer's positions are for.
    pub image_size: Option<u32>,
    /// The text of the licence that the weights are under.
    pub license: Option<String>,
}

/// A model of a checkpoint and what it would become.
pub struct Conversion {
    /// The model.
    pub model: Model,
    /// Its configuration.
    pub config: Config,
    /// Names of the tensors that the model asks for and that are there in its shape.
    pub matched: Vec<String>,
    /// Names of tensors that inference does not use.
    pub dropped: Vec<String>,
    /// Names of weights that were put together from several tensors.
    pub folded: Vec<String>,
    /// Where the tensors are not those of the configuration: what is wrong.
    pub faults: Option<WeightsReport>,
    preprocessing: Option<Preprocessing>,
    dtype: Option<Float>,
}

/// What became of a tensor.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Its name in the model file.
    pub name: String,
    /// Its type there.
    pub float: Float,
    /// What that did to its elements.
    pub rounding: Rounding,
}

/// Finds the models of a checkpoint and accounts for their tensors. Reads no element.
///
/// # Errors
/// [`Error::File`] where there is no model, or not the wanted part of one; [`Error::Config`] where a configuration cannot be
/// told. That tensors are missing is no error here, but [`Conversion::faults`]. Gives the names of what no model uses, too.
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
        let network = |model: &Model, config: &Config| {
            let view = View::new(checkpoint.name(), &model.tensors);
            Network::of_weights(model.kind.name(), &config.json, Box::new(view), size as usize)
        };
        let (mut matched, faults) = match network(&model, &config)?.tensors() {
            Ok(matched) => (matched, None),
            Err(Error::Weights(report)) => (report.matched.clone(), Some(report)),
            Err(error) => return Err(error),
        };
        if options.fold && faults.is_none() {
            let program = network(&model, &config)?.program(1)?;
            folded.extend(fold_norms(&program, &mut model.tensors, checkpoint.name()));
            config.json = without_spectral_norm(&config.json);
            // What was folded is asked for otherwise.
            matched = network(&model, &config)?.tensors()?;
        }
        let faulty = faults.iter().flat_map(|report| {
            report.unexpected.iter().chain(report.misshaped.iter().map(|wrong| &wrong.at)).map(String::as_str)
        });
        let told: BTreeSet<&str> = matched.iter().map(String::as_str).chain(faulty).collect();
        let dropped = model.tensors.keys().filter(|name| !told.contains(name.as_str())).cloned().collect();
        folded.retain(|name| told.contains(name.as_str()));
        Ok(Conversion { model, config, matched, dropped, folded, faults, preprocessing, dtype: options.dtype })
    }

    /// Reads all tensors that the model uses and converts them; `take` gets the bytes.
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

    /// What the file will hold, in order: wide elements before narrow ones, so that all are aligned.
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

    /// Bytes of the elements of the file.
    pub fn byte_len(&self) -> u64 {
        self.planned().iter().map(Planned::byte_len).sum()
    }

    /// Reads and converts everything, and writes nothing. `progress` is told of bytes.
    ///
    /// # Errors
    /// [`Error::File`] where a tensor cannot be read or has a type that models do not have.
    pub fn dry_run(&self, progress: &dyn Fn(u64)) -> Result<Vec<Converted>> {
        let mut count = |bytes: &[u8]| {
            progress(bytes.len() as u64);
            Ok(())
        };
        self.convert(&mut count, &mut |_| Ok(()))
    }

    /// The metadata of the model file.
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

/// What `--config` says of this model: the width of its own kind of flags. A checkpoint with an encoder and a head has one
/// file of flags for both, of which `head` and `dims` are the head's.
fn relevant(given: &Given, model: &Model) -> Given {
    let of_head = |flag: &str| ["head", "dims"].contains(&flag);
    let mut given = given.clone();
    match model.kind {
        Kind::Head(_) => given.flags.retain(|flag, _| of_head(flag)),
        _ => given.flags.retain(|flag, _| !of_head(flag)),
    }
    given
}

/// The size of the images that a transformer's positions are for.
fn native_size(config: &Config) -> Option<u32> {
    let json: Value = serde_json::from_str(&config.json).ok()?;
    json.get("image")?.as_u64()?.try_into().ok()
}

/// What models are made of, for `percept.source`: files, and where in them the models stood.
pub struct Source {
    files: Vec<(PathBuf, OnceLock<Result<String>>)>,
    places: Vec<String>,
}

impl Source {
    /// The files of a checkpoint, and the models that were found there.
    pub fn new(files: &[PathBuf], conversions: &[Conversion]) -> Self {
        let files = files.iter().map(|path| (path.clone(), OnceLock::new())).collect();
        Source { files, places: conversions.iter().map(|conversion| conversion.model.place.clone()).collect() }
    }

    /// SHA-256 of each file; of several threads that ask one computes it. It takes as long as a conversion, so that it is worth a
    /// thread of its own.
    ///
    /// # Errors
    /// [`Error::File`] where a file cannot be read.
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

    /// As long as the text, before the hashes are known.
    fn blank(&self) -> String {
        self.text(&vec!["0".repeat(64); self.files.len()])
    }
}

/// Writes the models, each to its path, all of them or none; gives what became of their tensors. `refuse` sees what became of
/// a model's tensors before its file is put in place.
///
/// # Errors
/// [`Error::File`] where a tensor cannot be read or a file cannot be written; `refuse`'s.
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
        // Inside, so that this file is put in its place only when the others are in theirs.
        let mut all = write(others, source, license, progress, refuse)?;
        all.insert(0, converted);
        Ok(all)
    })
}

/// Where the parts are written: the first to `out`, a head beside a trunk to `NAME.head.safetensors`.
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
