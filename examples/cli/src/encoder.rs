//! The encoder that a command line asks for.

use std::path::{Path, PathBuf};

use clap::Args;
use percept::pipeline::{Bundle, Device, Encoder, MappedModel, Preprocessing, open_model, untrained};
use percept::weights::WeightSource;
use percept::{Error, Result};

use crate::terminal::warn;

/// What the name of an encoder without a file begins with.
const RANDOM: &str = "random:";

#[derive(Args)]
pub struct EncoderArguments {
    /// An encoder's model file, in place of a bundle; or random:ARCH[:SEED], which was never trained: random:resnet50
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    encoder: Option<PathBuf>,
    /// The model file of the encoder's head, where its result, or that of one of its layers, is the representation
    #[arg(long, value_name = "FILE", requires = "encoder")]
    head: Option<PathBuf>,
    /// The layer whose values are the representation: stem, layer3, block7, trunk, head.0 ... [default: head or trunk]
    #[arg(long, value_name = "NAME", requires = "encoder")]
    layer: Option<String>,
    /// How pictures are prepared: rcdm, squash or imagenet [default: as the model's file says, else rcdm]
    ///
    /// How pictures are prepared. rcdm: RCDM's centre crop; squash: the whole picture, squashed to a square, as by RCDM's scripts
    /// for interpolation and manipulation; both as v / 127.5 - 1. imagenet: DINO's own evaluation, a centre crop with ImageNet's
    /// mean and standard deviation. [default: as the model's file says, else rcdm]
    #[arg(long, value_name = "PRESET")]
    preprocessing: Option<String>,
    /// Height and width that pictures are cut to [default: as the model's file says, else 224]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<u32>,
}

impl EncoderArguments {
    /// Opens the encoder, if one is named. Warns where pictures are prepared otherwise than its file says.
    pub fn open(&self, device: &Device) -> Result<Option<Encoder>> {
        let Some(encoder) = &self.encoder else { return Ok(None) };
        let model = model(encoder)?;
        let head = self.head.as_deref().map(open_model).transpose()?;
        let layer = self.layer.as_deref().unwrap_or(if head.is_some() { "head" } else { "trunk" });
        let named = Preprocessing::named_by(&model)?;
        let given = self.given(&named.unwrap_or_default())?;
        warn_of_another(encoder, named, given);
        Encoder::of(model, head, layer, Some(given), device).map(Some)
    }

    /// Opens a bundle. Warns where pictures are prepared otherwise than its file or the encoder's says.
    pub fn open_bundle(&self, file: &Path, device: &Device) -> Result<Bundle> {
        let mut bundle = Bundle::open(file, device)?;
        let given = self.given(bundle.encoder.preprocessing())?;
        let model = &bundle.encoder.models()[0];
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

/// Whether a file names another preprocessing than the one that is given; then says so.
fn warn_of_another(file: &Path, named: Option<Preprocessing>, given: Preprocessing) -> bool {
    let other = named.filter(|named| *named != given);
    if let Some(named) = other {
        warn(format_args!("{} was made for pictures by {named}, and is given them by {given}", file.display()));
    }
    other.is_some()
}

/// A file's model, or one of random weights.
fn model(encoder: &Path) -> Result<MappedModel> {
    let text = encoder.to_string_lossy();
    let Some(named) = text.strip_prefix(RANDOM) else { return open_model(encoder) };
    let (arch, seed) = named.split_once(':').unwrap_or((named, "0"));
    let seed = seed.parse().map_err(|_| Error::config("--encoder random:ARCH:SEED", "a number as the seed", seed))?;
    untrained(arch, seed)
}
