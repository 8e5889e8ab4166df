//! Bundles: files that name an encoder, its head and the decoder of their representations.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::rcdm::Rcdm;
use crate::device::Device;
use crate::encoding::Encoder;
use crate::images::preprocessing::Preprocessing;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The supported version of bundle files.
const VERSION: u32 = 1;

/// An encoder and the decoder that was trained on its representations, on one device.
pub struct Bundle {
    /// The encoder, which maps an image to its representation.
    pub encoder: Encoder,
    /// The decoder, which maps a representation to images.
    pub rcdm: Rcdm,
    /// The layer whose values are the representation, such as "trunk" or "head".
    pub layer: String,
    /// The preprocessing that the bundle file names, or `None` if it names none.
    pub preprocessing: Option<Preprocessing>,
}

/// The part of a bundle file that all versions have in common.
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
    /// Opens a bundle file, `NAME.bundle.json`, and the files that it names, whose paths are relative to its folder.
    ///
    /// # Errors
    /// Returns an error if the bundle or one of its files is missing or invalid, or the encoder and the decoder do not
    /// fit together.
    ///
    /// # Examples
    /// ```no_run
    /// use percept::{Bundle, Device, SampleOptions};
    /// use percept::images;
    ///
    /// # fn main() -> percept::Result<()> {
    /// let mut bundle = Bundle::open("trunk.bundle.json", &Device::named("auto")?)?;
    /// let h = bundle.encoder.encode(&images::open("picture.png")?)?;
    /// let images = bundle.rcdm.sample(&h, &SampleOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
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
            // The invalid layer comes from the bundle file, so the error names that file.
            Error::Config(m) if m.at == "layer" => Error::file(name, format!("layer: {}", m.expected), m.got),
            error => error,
        })?;
        let rcdm = Rcdm::open(folder.join(json.decoder), device)?;
        let bundle = Bundle::of(encoder, rcdm)?;
        Ok(Bundle { preprocessing: json.preprocessing, ..bundle })
    }

    /// Combines an encoder with the decoder of its representations.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the decoder takes representations of another length.
    pub fn of(encoder: Encoder, rcdm: Rcdm) -> Result<Self> {
        let layer = encoder.layer().to_string();
        if rcdm.config().ssl_dim != encoder.dim() {
            let expected = format!("a decoder for the {} elements of the encoder's {layer}", encoder.dim());
            return Err(Error::file(rcdm.model().name(), expected, format!("one for {}", rcdm.config().ssl_dim)));
        }
        Ok(Bundle { encoder, rcdm, layer, preprocessing: None })
    }
}
