//! Bundles: which encoder, head and decoder go together.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::device::Device;
use super::encoder::Encoder;
use super::preprocessing::Preprocessing;
use super::rcdm::Rcdm;
use crate::{Error, Result};

/// The newest version of bundle files.
const VERSION: u32 = 1;

/// An encoder and the decoder that was trained on its representations, on one device.
pub struct Bundle {
    /// From an image to its representation.
    pub encoder: Encoder,
    /// From a representation to images.
    pub rcdm: Rcdm,
    /// The layer whose values are the representation: "trunk", "head", or one between.
    pub layer: String,
    /// What the bundle's file says of how images are to be prepared, if it does.
    pub preprocessing: Option<Preprocessing>,
}

/// What every version of a bundle has.
#[derive(Deserialize)]
struct Version {
    version: Option<u32>,
}

#[derive(Deserialize)]
struct Json {
    #[serde(rename = "version")]
    _version: u32,
    encoder: PathBuf,
    head: Option<PathBuf>,
    decoder: PathBuf,
    preprocessing: Option<Preprocessing>,
    layer: Option<String>,
}

impl Bundle {
    /// Opens a `NAME.bundle.json`; the files that it names lie in its own folder.
    ///
    /// # Errors
    /// Where it or one of its files is missing or foreign, or they do not go together.
    ///
    /// # Examples
    /// ```no_run
    /// use percept::pipeline::{Bundle, Device, SampleOptions, image_file};
    ///
    /// # fn main() -> percept::Result<()> {
    /// let mut bundle = Bundle::open("trunk.bundle.json".as_ref(), &Device::named("auto")?)?;
    /// let h = bundle.encoder.encode(&image_file::open("picture.png")?)?;
    /// let images = bundle.rcdm.sample(&h, &SampleOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let name = &path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::file(name, "a readable bundle file", error))?;
        let version = serde_json::from_str::<Version>(&text).ok().and_then(|json| json.version);
        if let Some(version) = version.filter(|&version| version != VERSION) {
            return Err(Error::file(name, format!("a bundle of version {VERSION}"), format!("version {version}")));
        }
        let json: Json = serde_json::from_str(&text).map_err(|error| {
            Error::file(
                name,
                "a bundle: JSON with version, encoder, head or null, decoder, preprocessing, layer",
                error,
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let head = json.head.map(|head| folder.join(head));
        let layer = json.layer.as_deref().unwrap_or(if head.is_some() { "head" } else { "trunk" });
        let encoder = folder.join(json.encoder);
        let encoder = Encoder::open_layer(&encoder, head.as_deref(), layer, json.preprocessing, device);
        let encoder = encoder.map_err(|error| match error {
            // The layer that the bundle names.
            Error::Config(m) if m.at == "layer" => Error::file(name, format!("layer: {}", m.expected), m.got),
            error => error,
        })?;
        let bundle = Bundle::of(encoder, &folder.join(json.decoder), device)?;
        Ok(Bundle { preprocessing: json.preprocessing, ..bundle })
    }

    /// Puts an encoder together with the decoder of its representations.
    ///
    /// # Errors
    /// Where the decoder's file is missing or foreign, or it takes other representations.
    pub fn of(encoder: Encoder, decoder: &Path, device: &Device) -> Result<Self> {
        let rcdm = Rcdm::open(decoder, device)?;
        let layer = encoder.layer().to_string();
        if rcdm.config().ssl_dim != encoder.dim() {
            let expected = format!("a decoder for the {} elements of the encoder's {layer}", encoder.dim());
            return Err(Error::file(decoder.display(), expected, format!("one for {}", rcdm.config().ssl_dim)));
        }
        Ok(Bundle { encoder, rcdm, layer, preprocessing: None })
    }
}
