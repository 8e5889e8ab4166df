//! The encoder that the command line selects.

use std::path::{Path, PathBuf};

use clap::Args;
use percept::models::untrained;
use percept::weights::OpenModel;
use percept::weights::WeightSource;
use percept::{Bundle, Device, Encoder, Preprocessing};
use percept::{Error, Result};

use crate::terminal::warn;

/// The prefix of the name of an encoder without a file.
const RANDOM: &str = "random:";

#[derive(Args)]
pub struct EncoderArguments {
    /// Model file of an encoder, instead of a bundle; or an untrained random:ARCH[:SEED], such as random:resnet50
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    encoder: Option<PathBuf>,
    /// Model file of the encoder's head, if the representation is its output or that of one of its layers
    #[arg(long, value_name = "FILE", requires = "encoder", conflicts_with = "bundle")]
    head: Option<PathBuf>,
    /// Layer whose values are the representation: stem, layer3, block7, trunk, head.0 ... [default: head or trunk]
    #[arg(long, value_name = "NAME", requires = "encoder", conflicts_with = "bundle")]
    layer: Option<String>,
    /// How pictures are prepared: rcdm, squash or imagenet [default: from the model file, else rcdm]
    ///
    /// rcdm is RCDM's centre crop. squash resizes the whole picture to a square, as RCDM's scripts for interpolation
    /// and manipulation do. Both map a byte v to v / 127.5 - 1. imagenet is DINO's own evaluation: a centre crop, with
    /// ImageNet's mean and standard deviation.
    #[arg(long, value_name = "PRESET")]
    preprocessing: Option<String>,
    /// Height and width of the prepared pictures [default: from the model file, else 224]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<u32>,
}

impl EncoderArguments {
    /// Opens the encoder, if one is given. Warns if pictures are prepared differently than its file says.
    pub fn open(&self, device: &Device) -> Result<Option<Encoder>> {
        let Some(encoder) = &self.encoder else { return Ok(None) };
        let model = model(encoder)?;
        let head = self.head.as_deref().map(OpenModel::open).transpose()?;
        let layer = self.layer.as_deref().unwrap_or(if head.is_some() { "head" } else { "trunk" });
        let named = Preprocessing::named_by(&model)?;
        let given = self.given(&named.unwrap_or_default())?;
        warn_of_another(encoder, named, given);
        Encoder::of(model, head, layer, Some(given), device).map(Some)
    }

    /// Opens a bundle. Warns if pictures are prepared differently than its file or the encoder's file says.
    pub fn open_bundle(&self, file: &Path, device: &Device) -> Result<Bundle> {
        let mut bundle = Bundle::open(file, device)?;
        let given = self.given(bundle.encoder.preprocessing())?;
        let model = bundle.encoder.trunk();
        if !warn_of_another(file, bundle.preprocessing, given) {
            warn_of_another(model.name().as_ref(), Preprocessing::named_by(model)?, given);
        }
        bundle.encoder.set_preprocessing(given)?;
        Ok(bundle)
    }

    fn given(&self, default: &Preprocessing) -> Result<Preprocessing> {
        default.with(self.preprocessing.as_deref(), self.image_size)
    }
}

/// Warns if a file names a different preprocessing than `given`, and returns true if it does.
fn warn_of_another(file: &Path, named: Option<Preprocessing>, given: Preprocessing) -> bool {
    let other = named.filter(|named| *named != given);
    if let Some(named) = other {
        warn(format_args!("{} was made for pictures by {named}, and is given them by {given}", file.display()));
    }
    other.is_some()
}

/// Opens a model file, or makes a model with random weights if the name begins with [`RANDOM`].
fn model(encoder: &Path) -> Result<OpenModel> {
    let text = encoder.to_string_lossy();
    let Some(named) = text.strip_prefix(RANDOM) else { return OpenModel::open(encoder) };
    let (arch, seed) = named.split_once(':').unwrap_or((named, "0"));
    let seed = seed.parse().map_err(|_| Error::config("--encoder random:ARCH:SEED", "a number as the seed", seed))?;
    untrained(arch, seed)
}
