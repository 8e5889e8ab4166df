//! Converts images to a network's input and back, by the named presets of model bundles.

use std::fmt;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::resample::{Filter, resize, resize_part};
use crate::reference::byte;
use crate::weights::OpenModel;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The maximum side of a network's input, in pixels.
pub const MAX_INPUT_SIZE: u32 = 2048;

/// A way to resize, crop and normalize an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    Rcdm,
    Squash,
    Imagenet,
}

/// The presets, in the order of [`Preprocessing::PRESETS`].
const ALL: [Preset; 3] = [Preset::Rcdm, Preset::Squash, Preset::Imagenet];

/// The mean and standard deviation of ImageNet's red, green and blue, for bytes divided by 255, as
/// torchvision's models use them.
const IMAGENET: [(f32, f32); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

/// The conversion of an image to a network's input: `{"preset": "rcdm", "size": 224}` in a bundle.
///
/// - `rcdm` does what RCDM's sampling script does. It halves the image with a box filter while the short side is at
///   least twice the size, resizes it (bicubic) so that the short side equals the size, and crops the centre. It maps
///   each byte v to v / 127.5 - 1, even for encoders trained with ImageNet's mean and standard deviation, because
///   RCDM's decoders were trained on the representations that these encoders give for such input.
/// - `squash` does what RCDM's scripts for interpolation and manipulation do. It resizes the whole image (bilinear) to
///   a square, regardless of its aspect ratio, and maps each byte v to v / 127.5 - 1.
/// - `imagenet` is the preprocessing that DINO's encoders are evaluated with. It resizes the image (bicubic) so that
///   the short side is 8/7 of the size, rounded down (256 for a size of 224), crops the centre, and maps each byte v
///   to (v / 255 - mean) / std with ImageNet's mean and standard deviation.
///
/// Resizing is antialiased like Pillow's. Crops equal those of Pillow and torchvision to the byte.
///
/// ```
/// use image::RgbImage;
/// use percept::Preprocessing;
///
/// let preprocessing = Preprocessing::new("rcdm", 64)?;
/// let crop = preprocessing.crop(&RgbImage::new(300, 200))?;
/// assert_eq!(crop.dimensions(), (64, 64));
/// assert_eq!(preprocessing.to_input(&crop), vec![-1.0; 64 * 64 * 3]);
/// # Ok::<(), percept::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Preprocessing {
    preset: Preset,
    size: u32,
}

/// The preset and size as read from a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    preset: String,
    size: u32,
}

impl TryFrom<Unchecked> for Preprocessing {
    type Error = Error;

    fn try_from(unchecked: Unchecked) -> Result<Self> {
        Preprocessing::new(&unchecked.preset, unchecked.size)
    }
}

impl From<Preprocessing> for Unchecked {
    fn from(preprocessing: Preprocessing) -> Self {
        Unchecked { preset: preprocessing.preset().to_owned(), size: preprocessing.size }
    }
}

/// The preset `rcdm` at 224 pixels.
impl Default for Preprocessing {
    fn default() -> Self {
        Preprocessing { preset: Preset::Rcdm, size: 224 }
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} pixels", self.preset(), self.size)
    }
}

impl Preprocessing {
    /// The names of the presets.
    pub const PRESETS: [&str; 3] = ["rcdm", "squash", "imagenet"];

    /// Creates the preprocessing of the named preset for inputs of `size` x `size` pixels.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if no preset has that name, or `size` is 0 or exceeds [`MAX_INPUT_SIZE`].
    pub fn new(preset: &str, size: u32) -> Result<Self> {
        let Some(place) = Self::PRESETS.iter().position(|name| *name == preset) else {
            let expected = format!("one of {}", Self::PRESETS.join(", "));
            return Err(Error::config("preprocessing.preset", expected, format!("{preset:?}")));
        };
        if !(1..=MAX_INPUT_SIZE).contains(&size) {
            let expected = format!("1 to {MAX_INPUT_SIZE} pixels");
            return Err(Error::config("preprocessing.size", expected, size));
        }
        Ok(Preprocessing { preset: ALL[place], size })
    }

    /// Parses the JSON of a bundle or a model file, such as `{"preset": "rcdm", "size": 224}`.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if the JSON is not of that form, or for the reasons given at
    /// [`Preprocessing::new`].
    pub fn from_json(json: &str) -> Result<Self> {
        let unchecked: Unchecked = serde_json::from_str(json)
            .map_err(|e| Error::config("preprocessing", r#"JSON like {"preset": "rcdm", "size": 224}"#, e))?;
        unchecked.try_into()
    }

    /// Returns the preprocessing that a model file names, or `None` if it names none.
    ///
    /// # Errors
    /// Returns [`Error::File`] if `percept.preprocessing` in the file's metadata is invalid.
    pub fn named_by(model: &OpenModel) -> Result<Option<Self>> {
        let json = model.metadata("percept.preprocessing");
        json.map(serde_json::from_str)
            .transpose()
            .map_err(|error| Error::file(model.name(), "a preset and a size in percept.preprocessing", error))
    }

    /// Returns a copy with the given preset and size. `None` keeps the current one.
    ///
    /// # Errors
    /// Same as [`Preprocessing::new`].
    pub fn with(&self, preset: Option<&str>, size: Option<u32>) -> Result<Self> {
        Preprocessing::new(preset.unwrap_or(self.preset()), size.unwrap_or(self.size))
    }

    /// Returns the preset's name.
    pub fn preset(&self) -> &'static str {
        Self::PRESETS[self.preset as usize]
    }

    /// Returns the side of the crop in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Resizes and crops an image to `size` x `size` pixels.
    ///
    /// # Errors
    /// Returns [`Error::Image`] if the image has no pixels.
    pub fn crop(&self, image: &RgbImage) -> Result<RgbImage> {
        if image.width() == 0 || image.height() == 0 {
            let got = format!("{} x {}", image.width(), image.height());
            return Err(Error::image("picture", "at least 1 x 1 pixels", got));
        }
        Ok(match self.preset {
            Preset::Rcdm => self.halved_and_cropped(image),
            Preset::Squash => resize(image, (self.size, self.size), Filter::Bilinear),
            Preset::Imagenet => {
                // Like torchvision: truncates the longer side, and rounds halves in the crop's corner to even.
                let short = u64::from(self.size) * 8 / 7;
                let (width, height) = image.dimensions();
                let of_short = u64::from(width.min(height));
                let resized = [width, height].map(|side| (u64::from(side) * short / of_short) as u32);
                let corner = resized.map(|side| (f64::from(side - self.size) / 2.0).round_ties_even() as u32);
                self.cropped(image, resized, corner)
            }
        })
    }

    /// Crops an image as the preset `rcdm` does.
    fn halved_and_cropped(&self, image: &RgbImage) -> RgbImage {
        let mut halved = None;
        loop {
            let (width, height) = halved.as_ref().unwrap_or(image).dimensions();
            if width.min(height) < 2 * self.size {
                break;
            }
            let size = (width / 2, height / 2);
            halved = Some(resize(halved.as_ref().unwrap_or(image), size, Filter::Box));
        }
        let image = halved.as_ref().unwrap_or(image);

        let (width, height) = image.dimensions();
        let scale = f64::from(self.size) / f64::from(width.min(height));
        // Python's `round` rounds halves to even.
        let resized = [width, height].map(|side| (f64::from(side) * scale).round_ties_even() as u32);
        self.cropped(image, resized, resized.map(|side| (side - self.size) / 2))
    }

    /// Resizes an image to `[width, height]` and returns the square whose top left corner is `[left, top]`.
    fn cropped(&self, image: &RgbImage, [width, height]: [u32; 2], [left, top]: [u32; 2]) -> RgbImage {
        let (columns, rows) = (left..left + self.size, top..top + self.size);
        resize_part(image, (width, height), Filter::Bicubic, columns, rows)
    }

    /// Converts a crop to the network's input, `[h, w, c]`.
    pub fn to_input(&self, crop: &RgbImage) -> Vec<f32> {
        let bytes = crop.as_raw().iter().copied().map(f32::from);
        match self.preset {
            Preset::Rcdm | Preset::Squash => bytes.map(|v| v / 127.5 - 1.0).collect(),
            Preset::Imagenet => bytes
                .zip(IMAGENET.iter().cycle())
                .map(|(v, (mean, deviation))| (v / 255.0 - mean) / deviation)
                .collect(),
        }
    }
}

/// Converts a network's output `[height, width, 3]` to an image. Like RCDM's sampling script, it maps
/// each value x to (x + 1) * 127.5, clamped to 0..255 and truncated, so that -1 becomes 0 and 1 becomes
/// 255. Infinities are clamped like all values out of range.
///
/// # Errors
/// Returns [`Error::Shape`] if there are not `width * height * 3` values, and [`Error::NotFinite`] if
/// a value is NaN.
pub fn to_image(values: &[f32], width: u32, height: u32) -> Result<RgbImage> {
    if let Some(index) = values.iter().position(|value| value.is_nan()) {
        return Err(Error::not_finite("picture", "numbers", format!("NaN at index {index}")));
    }
    let bytes = values.iter().map(|&value| byte(value)).collect();
    // An RgbImage accepts spare bytes after its pixels; here they would be the caller's mistake.
    let expected = u128::from(width) * u128::from(height) * 3;
    RgbImage::from_raw(width, height, bytes).filter(|_| values.len() as u128 == expected).ok_or_else(|| {
        let expected = format!("{expected} values for [{height}, {width}, 3]");
        Error::shape("picture", expected, values.len())
    })
}
