//! Tests PNG and npz files: their content, that they replace whole files, and paths that cannot be written.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use image::{Rgb, RgbImage};
use percept::Error;
use percept::images::open;
use percept::images::{write_npz, write_png};

fn picture(seed: u8) -> RgbImage {
    RgbImage::from_fn(5, 4, |x, y| Rgb([seed, x as u8 * 50, y as u8 * 60]))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_png_remembers_how_it_was_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.png");
    let text = [("percept.seed", "7"), ("percept.command", "sample\n--seed 7"), ("Title", "Schlüssel λ")];
    write_png(&path, &picture(3), &text).expect("a file");
    assert_eq!(open(&path), Ok(picture(3)));

    let decoder = png::Decoder::new(BufReader::new(File::open(&path).expect("the file")));
    let reader = decoder.read_info().expect("a PNG");
    let info = reader.info();
    let latin: Vec<_> = info.uncompressed_latin1_text.iter().map(|t| (t.keyword.as_str(), t.text.as_str())).collect();
    assert_eq!(latin, text[..2]);
    assert_eq!(info.utf8_text.len(), 1);
    assert_eq!(info.utf8_text[0].keyword, "Title");
    assert_eq!(info.utf8_text[0].get_text().expect("UTF-8"), "Schlüssel λ");
}

#[test]
fn an_npz_has_numpys_layout() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("samples.npz");
    let pictures = [picture(1), picture(2), picture(3)];
    write_npz(&path, &pictures).expect("a file");

    let mut archive = zip::ZipArchive::new(File::open(&path).expect("the file")).expect("a zip file");
    assert_eq!(archive.len(), 1);
    let mut array = Vec::new();
    archive.by_name("arr_0.npy").expect("arr_0").read_to_end(&mut array).expect("sound data");
    assert_eq!(array[..8], *b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([array[8], array[9]]));
    assert_eq!((10 + length) % 64, 0);
    let header = std::str::from_utf8(&array[10..10 + length]).expect("text");
    assert_eq!(header.trim_end(), "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5, 3), }");
    assert!(header.ends_with('\n'));
    assert_eq!(array[10 + length..], pictures.map(RgbImage::into_raw).concat());
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.png");
    fs::write(&path, [0; 100_000]).expect("a file");
    write_png(&path, &picture(1), &[]).expect("a file");
    assert_eq!(open(&path), Ok(picture(1)));
    write_npz(folder.path().join("samples.npz"), &[picture(1)]).expect("a file");
    assert_eq!(names(folder.path()), ["picture.png", "samples.npz"]);
}

#[cfg(unix)]
#[test]
fn a_file_is_one_like_any_other() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().expect("a folder");
    let [path, plain, link] = ["picture.png", "plain", "link.png"].map(|name| folder.path().join(name));
    fs::write(&plain, "").expect("a file");
    write_png(&path, &picture(1), &[]).expect("a file");
    let mode = |path| fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
    // A link remains a link; the file that it names is replaced.
    symlink(&path, &link).expect("a link");
    write_png(&link, &picture(2), &[]).expect("a file");
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    assert_eq!(open(&path), Ok(picture(2)));
}

#[test]
fn a_place_that_cannot_be_written_is_a_file_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing").join("picture.png");
    let mut cases = vec![(missing.as_path(), "no such folder"), (folder.path(), "a folder")];
    cases.push((Path::new(""), "no name"));
    if cfg!(unix) {
        cases.push((Path::new("/dev/null"), "a device or pipe"));
    }
    for (path, got) in cases {
        for result in [write_png(path, &picture(1), &[]), write_npz(path, &[picture(1)])] {
            match result {
                Err(Error::File(mismatch)) => {
                    assert_eq!(mismatch.at, path.display().to_string());
                    assert_eq!(mismatch.got, got, "{path:?}");
                }
                other => panic!("{path:?}: {other:?}"),
            }
        }
    }
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_cannot_be_written_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let [png, npz] = ["picture.png", "samples.npz"].map(|name| folder.path().join(name));
    write_png(&png, &picture(1), &[]).expect("a file");
    assert!(matches!(write_png(&png, &RgbImage::new(0, 4), &[]), Err(Error::Image(_))));
    let long = "k".repeat(80);
    for keyword in ["", " seed", "seed ", "sämen", "a\nb", &long] {
        match write_png(&png, &picture(2), &[(keyword, "1")]) {
            Err(Error::Config(mismatch)) => assert_eq!(mismatch.got, format!("{keyword:?}")),
            other => panic!("{keyword:?}: {other:?}"),
        }
    }
    assert!(matches!(write_png(&png, &picture(2), &[("seed", "1\0")]), Err(Error::Config(_))));
    assert_eq!(open(&png), Ok(picture(1)));

    assert!(matches!(write_npz(&npz, &[]), Err(Error::Shape(_))));
    match write_npz(&npz, &[picture(1), picture(1), RgbImage::new(4, 5)]) {
        Err(Error::Shape(mismatch)) => {
            assert!(mismatch.at.ends_with("picture 2"), "{}", mismatch.at);
            assert_eq!(mismatch.got, "4 x 5");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(folder.path()), ["picture.png"]);
}
