//! Reads PNG and JPEG files like Pillow's `Image.open(file).convert("RGB")`.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, Pixel, RgbImage};

use crate::{Error, Result};

/// The maximum side of an image, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The maximum number of pixels in an image. Decoding needs at most 14 bytes per pixel, in addition to
/// the bytes of the file.
pub const MAX_PIXELS: u64 = 64 << 20;
/// The maximum size of an image file in bytes: [`MAX_PIXELS`] pixels in the widest format.
pub const MAX_FILE_BYTES: u64 = 8 * MAX_PIXELS;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// Reads the image in a PNG or JPEG file. The content determines the format, not the name.
///
/// Like Pillow, it converts grey, palette, 1-bit, 16-bit and CMYK images to RGB, drops transparency
/// without compositing, applies the EXIF orientation, and ignores colour profiles. The bytes equal
/// Pillow's for PNG. JPEG decoders differ from each other by a few units.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be read, and [`Error::Image`] if it is empty, neither PNG
/// nor JPEG, damaged, truncated, without pixels, or exceeds [`MAX_SIDE`], [`MAX_PIXELS`] or
/// [`MAX_FILE_BYTES`]. The size in the header is checked before anything is decoded.
pub fn open(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let unreadable = |e: std::io::Error| Error::file(&name, "a readable PNG or JPEG file", e);
    let mut bytes = Vec::new();
    // One byte over the limit suffices to reject the file, even if it is endless.
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES + 1);
    file.by_ref().take(PNG_SIGNATURE.len() as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    // Reads the rest only if the file is an image.
    if Format::of(&bytes).is_some() {
        file.read_to_end(&mut bytes).map_err(unreadable)?;
    }
    decode(&bytes, &name)
}

/// Decodes the bytes of a PNG or JPEG file; see [`open`]. Errors refer to the image as `name`.
///
/// # Errors
/// Returns [`Error::Image`] for the reasons given at [`open`].
pub fn decode(bytes: &[u8], name: &str) -> Result<RgbImage> {
    if bytes.is_empty() {
        return Err(Error::image(name, "a PNG or JPEG picture", "an empty file"));
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let expected = format!("at most {MAX_FILE_BYTES} bytes");
        return Err(Error::image(name, expected, "a larger file"));
    }
    match Format::of(bytes) {
        Some(Format::Png) => decode_png(bytes, name),
        Some(Format::Jpeg) => decode_jpeg(bytes, name),
        None => {
            let start = &bytes[..bytes.len().min(8)];
            let got = format!("a file that starts with the bytes {start:02x?}");
            Err(Error::image(name, "a PNG or JPEG picture", got))
        }
    }
}

enum Format {
    Png,
    Jpeg,
}

impl Format {
    fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            _ if bytes.starts_with(PNG_SIGNATURE) => Some(Format::Png),
            _ if bytes.starts_with(JPEG_SIGNATURE) => Some(Format::Jpeg),
            _ => None,
        }
    }
}

/// Checks the size in a header against the limits.
fn check_size(name: &str, width: u32, height: u32) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    let within = pixels <= MAX_PIXELS && width.max(height) <= MAX_SIDE;
    if pixels == 0 || !within {
        let expected = format!("1 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS} in all");
        return Err(Error::image(name, expected, format!("{width} x {height} pixels")));
    }
    Ok(())
}

/// Returns the error for an image that a decoder rejected.
fn undecodable(name: &str, format: &str, bytes: &[u8], error: ImageError) -> Error {
    let got = match error {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            format!("one cut off after {} bytes", bytes.len())
        }
        error => error.to_string(),
    };
    Error::image(name, format!("a complete {format} picture"), got)
}

fn decode_png(bytes: &[u8], name: &str) -> Result<RgbImage> {
    let failed = |e| undecodable(name, "PNG", bytes, e);
    // Reads width, height, depth and colour type directly from the header, which comes first and has a
    // fixed layout, because the decoder allocates rows of the declared width before it reports the size.
    let Some(header) = bytes.get(16..26).filter(|_| &bytes[12..16] == b"IHDR") else {
        return Err(failed(ImageError::IoError(ErrorKind::UnexpectedEof.into())));
    };
    let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    check_size(name, word(0), word(4))?;
    let has_no_alpha_channel = header[9] == 0;

    let mut decoder = PngDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;

    // Pillow keeps the high byte of 16-bit colours, and of 16-bit grey with an alpha channel. It clips
    // 16-bit grey without an alpha channel (a transparent key colour, tRNS, does not count as one) to
    // 255, which turns most such images white. This code does the same, so that the encoder sees the
    // same image as in the Python tools.
    let high_byte = |value: u16| (value >> 8) as u8;
    let grey = |value: u16| [if has_no_alpha_channel { value.min(255) as u8 } else { high_byte(value) }; 3];
    let rgb = match &image {
        DynamicImage::ImageLuma16(image) => to_rgb(image, |pixel| grey(pixel.0[0])),
        DynamicImage::ImageLumaA16(image) => to_rgb(image, |pixel| grey(pixel.0[0])),
        DynamicImage::ImageRgb16(image) => to_rgb(image, |pixel| pixel.0.map(high_byte)),
        DynamicImage::ImageRgba16(image) => to_rgb(image, |pixel| pixel.to_rgb().0.map(high_byte)),
        _ => image.into_rgb8(),
    };
    Ok(oriented(rgb, orientation))
}

fn decode_jpeg(bytes: &[u8], name: &str) -> Result<RgbImage> {
    let failed = |e| undecodable(name, "JPEG", bytes, e);
    let mut decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(name, width, height)?;
    // The decoder fills missing data with grey instead of failing.
    if !jpeg_has_end(bytes) {
        return Err(failed(ImageError::IoError(ErrorKind::UnexpectedEof.into())));
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok(oriented(image.into_rgb8(), orientation))
}

/// Returns true if a JPEG file has an end-of-image marker. Skips from marker to marker, because a marker
/// inside a segment, such as that of an EXIF thumbnail, does not end the image.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[at + 1..];
        let skipped = match rest {
            [0xd9, ..] => return true,
            // A fill byte.
            [0xff, ..] => 0,
            // A data byte 0xff, or a marker without a segment.
            [0x00 | 0x01 | 0xd0..=0xd8, ..] => 1,
            [_, high, low, ..] => 1 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    false
}

fn to_rgb<P: Pixel>(image: &ImageBuffer<P, Vec<P::Subpixel>>, convert: impl Fn(&P) -> [u8; 3]) -> RgbImage {
    let mut rgb = RgbImage::new(image.width(), image.height());
    for (to, from) in rgb.pixels_mut().zip(image.pixels()) {
        to.0 = convert(from);
    }
    rgb
}

fn oriented(rgb: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(rgb);
    image.apply_orientation(orientation);
    image.into_rgb8()
}
