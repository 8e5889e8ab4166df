//! Tests both sides of the limits of reading and writing picture files.

use std::fs::File;

use image::{Rgb, RgbImage};
use percept::Error;
use percept::images;
use percept::images::MAX_FILE_BYTES;
use percept::images::grid::{Grid, Row};
use percept::images::write_png;

/// Writes a PNG with zeros after its end, up to this number of bytes, and opens it.
fn padded_png(folder: &tempfile::TempDir, bytes: u64) -> percept::Result<RgbImage> {
    let path = folder.path().join("padded.png");
    write_png(&path, &RgbImage::from_pixel(2, 3, Rgb([1, 2, 3])), &[]).expect("a picture");
    File::options().write(true).open(&path).and_then(|file| file.set_len(bytes)).expect("a file with a hole");
    images::open(&path)
}

#[test]
fn a_picture_file_has_a_largest_size() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(padded_png(&folder, MAX_FILE_BYTES).map(|image| image.dimensions()), Ok((2, 3)));
    match padded_png(&folder, MAX_FILE_BYTES + 1) {
        Err(Error::Image(mismatch)) => assert!(mismatch.expected.contains("536870912"), "{mismatch}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_keyword_of_a_png_has_at_most_79_letters() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.png");
    let write = |length: usize| write_png(&path, &RgbImage::new(1, 1), &[(&"k".repeat(length), "text")]);
    assert_eq!(write(79), Ok(()));
    assert!(images::open(&path).is_ok());
    assert!(matches!(write(80), Err(Error::Config(_))));
}

#[test]
fn a_label_of_24_letters_is_one_line_and_of_25_two() {
    let rendered = |label: String| {
        let row = Row { label, groups: vec![vec![RgbImage::new(8, 8)]] };
        Grid { sample_size: 8, headings: vec!["h".into()], rows: vec![row] }.render().expect("a picture")
    };
    // Lines with a dark pixel left of the cell. A label of 24 letters of 9 pixels pushes the cell to 256.
    let inked = |image: &RgbImage| {
        (50..image.height()).filter(|&y| (24..240).any(|x| image.get_pixel(x, y).0[0] < 128)).count()
    };
    let (one, two) = (rendered("x".repeat(24)), rendered("x".repeat(25)));
    assert_eq!(one.width(), two.width());
    assert!(inked(&one) > 0 && inked(&two) == 2 * inked(&one), "{} and {} lines of ink", inked(&one), inked(&two));
}
