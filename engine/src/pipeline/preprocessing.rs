//! From a picture to a network's input and back, by the named presets of model bundles.

use std::fmt;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::mapped::MappedModel;
use super::resample::{Filter, resize, resize_part};
use crate::reference::to_rgba8::byte;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The most pixels a side of a network's input has.
pub const MAX_INPUT_SIZE: u32 = 2048;

/// What is done to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    Rcdm,
    Squash,
    Imagenet,
}

/// The presets, in the order of [`Preprocessing::PRESETS`].
const ALL: [Preset; 3] = [Preset::Rcdm, Preset::Squash, Preset::Imagenet];

/// Mean and standard deviation of ImageNet's red, green and blue, of bytes divided by 255, as torchvision's models have them.
const IMAGENET: [(f32, f32); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

/// How a picture becomes a network's input: `{"preset": "rcdm", "size": 224}` in a bundle.
///
/// - `rcdm` is what RCDM's sampling script does. The picture is halved with a box filter while its short side is at least
///   twice the size, resized (bicubic) to a short side of the size, and cropped at the centre. Bytes v become v / 127.5 - 1,
///   also for encoders trained on ImageNet's mean and standard deviation: RCDM was trained on those encoders so fed.
/// - `squash` is what its scripts for interpolation and manipulation do: the whole picture is resized (bilinear) to a
///   square, whatever its shape, and v becomes v / 127.5 - 1.
/// - `imagenet` is the evaluation of DINO's encoders: resized (bicubic) to a short side of 256 for 224 pixels, 8/7 of any
///   size rounded down, cropped at the centre, and (v / 255 - mean) / std by ImageNet's mean and standard deviation.
///
/// Resizing is antialiased as Pillow's. Crops are Pillow's and torchvision's to the byte.
///
/// ```
/// use image::RgbImage;
/// use percept::pipeline::Preprocessing;
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

/// The preset and size as a file has them.
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

/// RCDM's at 224 pixels.
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

    /// The preset of that name for inputs of `size` x `size` pixels.
    ///
    /// # Errors
    /// [`Error::Config`] where no preset has that name, or where the size is 0 or over
    /// [`MAX_INPUT_SIZE`].
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

    /// The preset that a bundle's or a model file's JSON names: `{"preset": "rcdm", "size": 224}`.
    ///
    /// # Errors
    /// [`Error::Config`] where the JSON is not of that form, and as for [`Preprocessing::new`].
    pub fn from_json(json: &str) -> Result<Self> {
        let unchecked: Unchecked = serde_json::from_str(json)
            .map_err(|e| Error::config("preprocessing", r#"JSON like {"preset": "rcdm", "size": 224}"#, e))?;
        unchecked.try_into()
    }

    /// What a model's file says of how its images are to be prepared, if it does.
    ///
    /// # Errors
    /// [`Error::File`] where that is no preprocessing.
    pub fn named_by(model: &MappedModel) -> Result<Option<Self>> {
        let json = model.metadata("percept.preprocessing");
        json.map(serde_json::from_str)
            .transpose()
            .map_err(|error| Error::file(model.name(), "a preset and a size in percept.preprocessing", error))
    }

    /// The same with another preset or size, where one is given.
    ///
    /// # Errors
    /// As [`Preprocessing::new`].
    pub fn with(&self, preset: Option<&str>, size: Option<u32>) -> Result<Self> {
        Preprocessing::new(preset.unwrap_or(self.preset()), size.unwrap_or(self.size))
    }

    /// The preset's name.
    pub fn preset(&self) -> &'static str {
        Self::PRESETS[self.preset as usize]
    }

    /// Pixels a side of the crop.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The picture cut to `size` x `size` pixels.
    ///
    /// # Errors
    /// [`Error::Image`] where the picture has no pixels.
    pub fn crop(&self, image: &RgbImage) -> Result<RgbImage> {
        if image.width() == 0 || image.height() == 0 {
            let got = format!("{} x {}", image.width(), image.height());
            return Err(Error::image("picture", "at least 1 x 1 pixels", got));
        }
        Ok(match self.preset {
            Preset::Rcdm => self.halved_and_cropped(image),
            Preset::Squash => resize(image, (self.size, self.size), Filter::Bilinear),
            Preset::Imagenet => {
                // torchvision truncates the longer side, and rounds halves of the crop's corner to even.
                let short = u64::from(self.size) * 8 / 7;
                let (width, height) = image.dimensions();
                let of_short = u64::from(width.min(height));
                let resized = [width, height].map(|side| (u64::from(side) * short / of_short) as u32);
                let corner = resized.map(|side| (f64::from(side - self.size) / 2.0).round_ties_even() as u32);
                self.cropped(image, resized, corner)
            }
        })
    }

    /// RCDM's way.
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
        // Python's round: halves go to the even neighbour.
        let resized = [width, height].map(|side| (f64::from(side) * scale).round_ties_even() as u32);
        self.cropped(image, resized, resized.map(|side| (side - self.size) / 2))
    }

    /// The square at `corner` of the picture resized to `resized`, both as width and height.
    fn cropped(&self, image: &RgbImage, [width, height]: [u32; 2], [left, top]: [u32; 2]) -> RgbImage {
        let (columns, rows) = (left..left + self.size, top..top + self.size);
        resize_part(image, (width, height), Filter::Bicubic, columns, rows)
    }

    /// A crop's bytes as the network takes them, `[h, w, c]`.
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

/// A network's output `[height, width, 3]` as a picture: (x + 1) * 127.5, clamped to 0..255 and
/// truncated, as RCDM's sampling script has it: -1 is 0 and 1 is 255.
///
/// # Errors
/// [`Error::Shape`] where there are not `width * height * 3` values, [`Error::NotFinite`] where one
/// is NaN, which no byte can show. Infinities are clamped as everything out of range is.
pub fn to_image(values: &[f32], width: u32, height: u32) -> Result<RgbImage> {
    if let Some(index) = values.iter().position(|value| value.is_nan()) {
        return Err(Error::not_finite("picture", "numbers", format!("NaN at index {index}")));
    }
    let bytes = values.iter().map(|&value| byte(value)).collect();
    // An RgbImage may have spare bytes behind its pixels; here they would be an error of the caller.
    let expected = u128::from(width) * u128::from(height) * 3;
    RgbImage::from_raw(width, height, bytes).filter(|_| values.len() as u128 == expected).ok_or_else(|| {
        let expected = format!("{expected} values for [{height}, {width}, 3]");
        Error::shape("picture", expected, values.len())
    })
}
