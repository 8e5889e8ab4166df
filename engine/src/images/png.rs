//! Writes PNG files with text chunks.

use std::io::{BufWriter, Write};
use std::path::Path;

use image::RgbImage;

use super::output_file::replace_file;
use crate::{Error, Result};

/// Writes an image as a PNG file, with a text chunk for each keyword and text in `text`, which record
/// how the image was made. ASCII texts become `tEXt` chunks, others `iTXt`. Replaces an existing file
/// at `path`.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be written, for example because its folder does not
/// exist, [`Error::Image`] if the image has no pixels, and [`Error::Config`] if a keyword is not 1 to
/// 79 printable ASCII characters without a space at either end, or a text contains a NUL.
pub fn write_png(path: impl AsRef<Path>, image: &RgbImage, text: &[(&str, &str)]) -> Result<()> {
    let path = path.as_ref();
    if image.is_empty() {
        let got = format!("{} x {}", image.width(), image.height());
        return Err(Error::image(path.display(), "at least 1 x 1 pixels", got));
    }
    let mut info = png::Info::with_size(image.width(), image.height());
    info.color_type = png::ColorType::Rgb;
    info.bit_depth = png::BitDepth::Eight;
    for &(keyword, text) in text {
        let printable = keyword.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable || !(1..=79).contains(&keyword.len()) || keyword.trim() != keyword {
            let expected = "1 to 79 printable ASCII characters without a space at either end";
            return Err(Error::config("PNG text keyword", expected, format!("{keyword:?}")));
        }
        if text.contains('\0') {
            return Err(Error::config(format!("PNG text {keyword}"), "text without NUL", "a NUL"));
        }
        let (keyword, text) = (keyword.to_owned(), text.to_owned());
        if text.is_ascii() {
            info.uncompressed_latin1_text.push(png::text_metadata::TEXtChunk { keyword, text });
        } else {
            info.utf8_text.push(png::text_metadata::ITXtChunk::new(keyword, text));
        }
    }
    replace_file(path, |file| {
        let mut file = BufWriter::new(file);
        let mut writer = png::Encoder::with_info(&mut file, info)?.write_header()?;
        writer.write_image_data(image.as_raw())?;
        writer.finish()?;
        file.flush()
    })
}
