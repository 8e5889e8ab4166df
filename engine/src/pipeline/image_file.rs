//! Pictures from PNG and JPEG files, as Pillow's `Image.open(file).convert("RGB")` gives them.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, Pixel, RgbImage};

use crate::{Error, Result};

/// The most pixels that a side of a picture has.
pub const MAX_SIDE: u32 = 16_384;
/// The most pixels that a picture has. While it is decoded it needs at most 14 bytes for each of
/// them, beside the file's.
pub const MAX_PIXELS: u64 = 64 << 20;
/// The most bytes that a picture's file has: those of [`MAX_PIXELS`] of the widest format.
pub const MAX_FILE_BYTES: u64 = 8 * MAX_PIXELS;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// The picture in a PNG or JPEG file; the content decides which, not the name.
///
/// Grey, palette, 1-bit, 16-bit and CMYK pictures become RGB, transparency is dropped without
/// compositing, an EXIF orientation is applied, and colour profiles are not, all as Pillow does. The
/// bytes are Pillow's for PNG; JPEG decoders differ from each other by a few units.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Image`] where it is empty, neither PNG nor
/// JPEG, damaged, cut off, without pixels, or over [`MAX_SIDE`], [`MAX_PIXELS`] or
/// [`MAX_FILE_BYTES`]. Sizes are checked in the header, before anything is decoded.
pub fn open(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let unreadable = |e: std::io::Error| Error::file(&name, "a readable PNG or JPEG file", e);
    let mut bytes = Vec::new();
    // One byte over the limit is enough to see that it is over, be the file endless.
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES + 1);
    file.by_ref().take(PNG_SIGNATURE.len() as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    // What is no picture at all is not worth reading.
    if Format::of(&bytes).is_some() {
        file.read_to_end(&mut bytes).map_err(unreadable)?;
    }
    decode(&bytes, &name)
}

/// The picture in the bytes of a PNG or JPEG file; see [`open`]. `name` is what errors call it.
///
/// # Errors
/// [`Error::Image`], as for [`open`].
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

/// Checks what a header says of the size.
fn check_size(name: &str, width: u32, height: u32) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    let within = pixels <= MAX_PIXELS && width.max(height) <= MAX_SIDE;
    if pixels == 0 || !within {
        let expected = format!("1 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS} in all");
        return Err(Error::image(name, expected, format!("{width} x {height} pixels")));
    }
    Ok(())
}

/// The error for what a decoder did not take.
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
    // The header comes first and its layout is fixed. Read here, since the decoder allocates rows as
    // long as the header says before it tells the size: width, height, depth, colour type.
    let Some(header) = bytes.get(16..26).filter(|_| &bytes[12..16] == b"IHDR") else {
        return Err(failed(ImageError::IoError(ErrorKind::UnexpectedEof.into())));
    };
    let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    check_size(name, word(0), word(4))?;
    let has_no_alpha_channel = header[9] == 0;

    let mut decoder = PngDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;

    // Pillow keeps the high byte of 16-bit colours and of grey with an alpha channel. 16-bit grey
    // without one (a transparent key colour, tRNS, is none) it clips to 255, which turns most such
    // pictures white; so does this, since scaling them would give the encoder another picture than
    // the Python tools give it.
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
    // The decoder fills in grey for what is not there.
    if !jpeg_has_end(bytes) {
        return Err(failed(ImageError::IoError(ErrorKind::UnexpectedEof.into())));
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok(oriented(image.into_rgb8(), orientation))
}

/// Whether a JPEG file's end-of-image marker is found by going from marker to marker; one inside a
/// segment, as of an EXIF thumbnail, is not the picture's.
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
