//! Tests that pictures are read as Pillow reads them (data/make_data.py), and that an invalid file gives an
//! error that says so.

use std::fs;
use std::path::PathBuf;

use image::RgbImage;
use percept::error::{Error, Mismatch};
use percept::images::{MAX_PIXELS, MAX_SIDE, decode, open};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipeline/data").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(data(name)).expect("a committed file")
}

/// Returns the output of data/make_data.py.
pub fn expected() -> Value {
    serde_json::from_slice(&bytes("expected.json")).expect("expected.json is JSON")
}

/// Decodes a hexadecimal string.
pub fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a string");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn image_error(result: percept::Result<RgbImage>) -> Mismatch {
    match result {
        Err(Error::Image(mismatch)) => mismatch,
        other => panic!("not an image error: {other:?}"),
    }
}

#[test]
fn pictures_are_pillows() {
    let expected = expected();
    let pictures = expected["pictures"].as_object().expect("pictures");
    assert_eq!(pictures.len(), 31);
    for (name, want) in pictures {
        let got = open(data(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let size = [got.width(), got.height()].map(u64::from);
        assert_eq!(size, [&want["width"], &want["height"]].map(|v| v.as_u64().expect("a number")), "{name}");
        let want = unhex(&want["rgb"]);
        if name.ends_with(".png") {
            assert_eq!(got.as_raw(), &want, "{name}");
        } else {
            // JPEG does not specify the rounding of the inverse transform and the interpolation of chroma.
            let differences = || got.as_raw().iter().zip(&want).map(|(&a, &b)| u32::from(a.abs_diff(b)));
            assert!(differences().all(|d| d <= 8), "{name}: {:?}", differences().max());
            let sum: u32 = differences().sum();
            assert!(sum as usize * 10 <= want.len(), "{name}: the sum of differences is {sum}");
        }
    }
}

#[test]
fn content_decides_not_the_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.jpg");
    fs::copy(data("rgb.png"), &path).expect("a copy");
    assert_eq!(open(&path), open(data("rgb.png")));
    assert!(open(&path).is_ok());
}

#[test]
fn what_cannot_be_read_is_a_file_error() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path().join("missing.png"), folder.path().to_owned()] {
        match open(&path) {
            Err(Error::File(mismatch)) => assert_eq!(mismatch.at, path.display().to_string()),
            other => panic!("{path:?}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_picture_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.png");
    for (content, got) in [
        (&b""[..], "an empty file"),
        (b"\x89", "starts with the bytes [89]"),
        (b"GIF89a and more", "starts with the bytes [47, 49, 46, 38, 39, 61, 20, 61]"),
    ] {
        fs::write(&path, content).expect("a file");
        let error = image_error(open(&path));
        assert_eq!(error.at, path.display().to_string());
        assert_eq!(error.expected, "a PNG or JPEG picture");
        assert!(error.got.contains(got), "{}", error.got);
    }
}

#[test]
fn a_cut_off_picture_is_an_error_wherever_it_ends() {
    for (name, end) in [
        // A PNG is complete before its last chunk, which only marks the end.
        ("rgb.png", 12),
        ("palette_alpha.png", 12),
        ("subsampled.jpg", 0),
        ("progressive.jpg", 0),
        ("exif_6.jpg", 0),
    ] {
        let whole = bytes(name);
        assert!(decode(&whole, name).is_ok(), "{name}");
        for length in 8..whole.len() - end {
            let error = image_error(decode(&whole[..length], name));
            assert_eq!(error.at, name);
            assert!(error.expected.starts_with("a complete "), "{length} bytes of {name}: {error}");
        }
        let half = image_error(decode(&whole[..whole.len() - end - 1], name)).got;
        assert!(half.contains("cut off after"), "{name}: {half}");
    }
}

/// Any number of fill bytes may precede a JPEG's marker.
#[test]
fn fill_bytes_are_skipped() {
    let file = bytes("subsampled.jpg");
    let want = decode(&file, "subsampled.jpg").expect("a picture");
    for inserted in [&[0xff][..], &[0xff, 0xff, 0xff]] {
        let changed = [&file[..2], inserted, &file[2..]].concat();
        let got = decode(&changed, "changed.jpg").unwrap_or_else(|error| panic!("{inserted:02x?}: {error}"));
        assert!(got == want, "{inserted:02x?}");
    }
}

#[test]
fn a_damaged_picture_is_an_error() {
    let mut file = bytes("rgb.png");
    // Change the pixel data, so that the chunk's checksum no longer matches.
    let at = file.windows(4).position(|name| name == b"IDAT").expect("pixels") + 8;
    file[at] ^= 1;
    assert_eq!(image_error(decode(&file, "damaged.png")).at, "damaged.png");
}

/// Returns a PNG file whose header gives this size, but with the pixels and checksum of another.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut file = bytes("rgb.png");
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    file
}

/// Returns a JPEG file whose header gives this size.
fn jpeg_of_size(width: u16, height: u16) -> Vec<u8> {
    let mut file = bytes("subsampled.jpg");
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame header");
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

#[test]
fn sizes_are_checked_before_decoding() {
    let side = MAX_SIDE;
    let height_at_limit = (MAX_PIXELS / u64::from(side)) as u32;
    let too_long = side as u16 + 1;
    for (file, size) in [
        (png_of_size(side + 1, 1), "16385 x 1 pixels"),
        (png_of_size(1, u32::MAX), "1 x 4294967295 pixels"),
        (png_of_size(side, height_at_limit + 1), "16384 x 4097 pixels"),
        (png_of_size(0, 3), "0 x 3 pixels"),
        (png_of_size(3, 0), "3 x 0 pixels"),
        (jpeg_of_size(too_long, 1), "16385 x 1 pixels"),
        (jpeg_of_size(too_long - 1, too_long - 1), "16384 x 16384 pixels"),
    ] {
        let error = image_error(decode(&file, "large"));
        assert_eq!(error.got, size);
        assert_eq!(error.expected, "1 to 16384 pixels a side and at most 67108864 in all");
    }
    for (width, height) in [(0, 9), (9, 0)] {
        assert_eq!(image_error(decode(&jpeg_of_size(width, height), "nothing.jpg")).at, "nothing.jpg");
    }
    // A header at the limit is accepted; the error is about the rest of this file.
    let at_limit = image_error(decode(&png_of_size(side, height_at_limit), "at the limit"));
    assert!(at_limit.expected.starts_with("a complete PNG"), "{at_limit}");
}

#[test]
fn the_longest_side_is_read() {
    let mut file = std::io::Cursor::new(Vec::new());
    let strip = RgbImage::from_fn(MAX_SIDE, 1, |x, _| image::Rgb([x as u8, (x >> 8) as u8, 7]));
    strip.write_to(&mut file, image::ImageFormat::Png).expect("a PNG");
    assert_eq!(decode(file.get_ref(), "strip"), Ok(strip));
}
