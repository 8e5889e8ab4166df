//! The encoder that a command line asks for.

use std::path::{Path, PathBuf};

use clap::Args;
use percept::pipeline::{Device, Encoder, MappedModel, Preprocessing, open_model, untrained};
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
    /// Height and width that pictures are cropped to [default: as the model's file says, else 224]
    #[arg(long, value_name = "PIXELS", requires = "encoder")]
    image_size: Option<u32>,
}

impl EncoderArguments {
    /// Opens the encoder, if one is named. Warns where pictures are given otherwise than its file says.
    pub fn open(&self, device: &Device) -> Result<Option<Encoder>> {
        let Some(encoder) = &self.encoder else { return Ok(None) };
        let model = model(encoder)?;
        let head = self.head.as_deref().map(open_model).transpose()?;
        let layer = self.layer.as_deref().unwrap_or(if head.is_some() { "head" } else { "trunk" });
        let given = self.image_size.map(|size| Preprocessing::new("rcdm", size)).transpose()?;
        let own = model.metadata("percept.preprocessing").map(Preprocessing::from_json).transpose()?;
        if let (Some(given), Some(own)) = (given.filter(|given| Some(*given) != own), own) {
            let (size, own) = (given.size(), own.size());
            warn(format_args!("{} was made for pictures of {own} pixels, and is given {size}", encoder.display()));
        }
        Encoder::of(model, head, layer, given, device).map(Some)
    }
}

/// A file's model, or one of random weights.
fn model(encoder: &Path) -> Result<MappedModel> {
    let text = encoder.to_string_lossy();
    let Some(named) = text.strip_prefix(RANDOM) else { return open_model(encoder) };
    let (arch, seed) = named.split_once(':').unwrap_or((named, "0"));
    let seed = seed.parse().map_err(|_| Error::config("--encoder random:ARCH:SEED", "a number as the seed", seed))?;
    untrained(arch, seed)
}
