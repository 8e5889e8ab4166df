//! From a picture to a network's input and back, by the named presets of model bundles.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::resample::{Filter, resize, resize_part};
use crate::reference::to_rgba8::byte;
use crate::{Error, Result};

/// The most pixels a side of a network's input has.
pub const MAX_INPUT_SIZE: u32 = 2048;

/// The names of the presets.
const PRESETS: [&str; 1] = ["rcdm"];

/// How a picture is cut to a network's input: `{"preset": "rcdm", "size": 224}` in a bundle.
///
/// Preset `rcdm` is what RCDM's sampling script does. The picture is halved with a box filter while
/// its short side is at least twice the size, resized (bicubic, antialiased) to a short side of the
/// size, and cropped at the centre. Bytes v become v / 127.5 - 1, also for encoders trained on
/// ImageNet's mean and standard deviation: RCDM was trained on those encoders so fed. The crop is
/// Pillow's to the byte.
///
/// ```
/// use image::RgbImage;
/// use percept::pipeline::preprocessing::{Preprocessing, to_input};
///
/// let preprocessing = Preprocessing::new("rcdm", 64)?;
/// let crop = preprocessing.crop(&RgbImage::new(300, 200))?;
/// assert_eq!(crop.dimensions(), (64, 64));
/// assert_eq!(to_input(&crop), vec![-1.0; 64 * 64 * 3]);
/// # Ok::<(), percept::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Preprocessing {
    // The preset is `rcdm`, the only one: there is nothing to keep yet.
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

impl Preprocessing {
    /// The preset of that name for inputs of `size` x `size` pixels.
    ///
    /// # Errors
    /// [`Error::Config`] where no preset has that name, or where the size is 0 or over
    /// [`MAX_INPUT_SIZE`].
    pub fn new(preset: &str, size: u32) -> Result<Self> {
        if !PRESETS.contains(&preset) {
            let expected = format!("one of {}", PRESETS.join(", "));
            return Err(Error::config("preprocessing.preset", expected, format!("{preset:?}")));
        }
        if !(1..=MAX_INPUT_SIZE).contains(&size) {
            let expected = format!("1 to {MAX_INPUT_SIZE} pixels");
            return Err(Error::config("preprocessing.size", expected, size));
        }
        Ok(Preprocessing { size })
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

    /// The preset's name.
    pub fn preset(&self) -> &'static str {
        PRESETS[0]
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
        let scaled = |side: u32| (f64::from(side) * scale).round_ties_even() as u32;
        let (width, height) = (scaled(width), scaled(height));
        let (left, top) = ((width - self.size) / 2, (height - self.size) / 2);
        let (columns, rows) = (left..left + self.size, top..top + self.size);
        Ok(resize_part(image, (width, height), Filter::Bicubic, columns, rows))
    }
}

/// A picture's bytes as a network takes them: v / 127.5 - 1, in [-1, 1], `[h, w, c]`.
pub fn to_input(image: &RgbImage) -> Vec<f32> {
    image.as_raw().iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect()
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
