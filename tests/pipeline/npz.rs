//! Tests npz files that are written picture by picture, and arrays of float32 that are read by rows.

use std::fs;
use std::io::{Read, Write};

use image::{Rgb, RgbImage};
use percept::Error;
use percept::encoding::FloatRows;
use percept::images::npz::{Mark, NpzFile};
use percept::images::write_npz;

fn picture(seed: u8) -> RgbImage {
    RgbImage::from_fn(5, 4, |x, y| Rgb([seed, x as u8 * 50, y as u8 * 60]))
}

#[test]
fn a_file_that_goes_on_from_any_picture_is_the_same_to_the_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let [whole, path] = ["whole.npz", "samples.npz"].map(|name| folder.path().join(name));
    let pictures = [1, 2, 3, 4].map(picture);
    write_npz(&whole, &pictures).expect("a file");
    let whole = fs::read(whole).expect("a file");
    for count in 0..=4 {
        let mut file = NpzFile::create(&path, 4, [5, 4]).expect("a file");
        pictures[..count].iter().for_each(|picture| file.push(picture).expect("a row"));
        let mark = file.mark().expect("a mark");
        assert_eq!(mark.rows, count);
        // Rows after the mark are lost in a power failure, or are written only in part.
        pictures[count..].iter().take(1).for_each(|picture| file.push(picture).expect("a row"));
        drop(file);
        let mut part = fs::File::options().append(true).open(NpzFile::part(&path)).expect("the file");
        // More bytes than the end of the archive overwrites.
        part.write_all(&[7; 4096]).expect("bytes");
        assert!(!path.exists());
        let mut file = NpzFile::resume(&path, 4, [5, 4], mark).expect("a file");
        pictures[count..].iter().for_each(|picture| file.push(picture).expect("a row"));
        file.finish().expect("a file");
        assert!(fs::read(&path).expect("a file") == whole && !NpzFile::part(&path).exists(), "from {count}");
        fs::remove_file(&path).expect("the file");
    }
    // The reader checks the checksum.
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(whole)).expect("an archive");
    let mut bytes = Vec::new();
    archive.by_name("arr_0.npy").expect("arr_0").read_to_end(&mut bytes).expect("sound data");
    assert_eq!(bytes.len(), 128 + 4 * 60);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("samples.npz");
    let mut file = NpzFile::create(&path, 2, [5, 4]).expect("a file");
    assert!(matches!(file.push(&RgbImage::new(5, 5)), Err(Error::Shape(_))));
    file.push(&picture(1)).expect("a row");
    let mark = file.mark().expect("a mark");
    match file.finish() {
        Err(Error::Shape(mismatch)) => assert_eq!((&*mismatch.expected, &*mismatch.got), ("2 pictures", "1")),
        other => panic!("{other:?}"),
    }
    for (count, mark) in [(2, Mark { rows: 2, ..mark }), (0, mark)] {
        let Err(Error::File(mismatch)) = NpzFile::resume(&path, count, [5, 4], mark).map(|_| ()) else {
            panic!("a file error")
        };
        assert!(mismatch.at.ends_with("samples.npz.part"), "{mismatch}");
    }
    let mut file = NpzFile::resume(&path, 2, [5, 4], mark).expect("a file");
    file.push(&picture(2)).expect("a row");
    assert!(matches!(file.push(&picture(3)), Err(Error::Shape(_))), "all are there");
    file.finish().expect("a file");
    let nowhere = folder.path().join("gone/samples.npz");
    assert!(matches!(NpzFile::create(&nowhere, 2, [5, 4]), Err(Error::File(_))));
    assert!(matches!(NpzFile::resume(&path, 2, [5, 4], mark), Err(Error::File(_))), "nothing was interrupted");
}

/// Returns an array in numpy's format, version 1.0.
fn npy(dictionary: &str, values: &[f32]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dictionary.len() as u16).to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[test]
fn floats_are_read_by_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let values: Vec<f32> = (0..24).map(|value| value as f32 / 7.0).collect();
    let array = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3, 2), }\n", &values);
    fs::write(folder.path().join("a.npy"), &array).expect("a file");
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(fs::File::create(folder.path().join("a.npz")).expect("a file"));
    archive.start_file("noise.npy", stored).expect("an entry");
    archive.write_all(&array).expect("bytes");
    archive.finish().expect("an archive");
    for name in ["a.npy", "a.npz"] {
        let mut rows = FloatRows::open(folder.path().join(name)).expect("an array");
        assert_eq!(rows.shape(), [4, 3, 2]);
        assert_eq!(rows.read(1..3).expect("rows"), values[6..18]);
        assert_eq!(rows.read(0..4).expect("rows"), values);
        assert!(matches!(rows.read(3..5), Err(Error::Shape(_))));
    }
    let refused = |bytes: &[u8]| {
        let path = folder.path().join("b.npy");
        fs::write(&path, bytes).expect("a file");
        match FloatRows::open(&path).map(|_| ()) {
            Err(Error::File(mismatch)) => assert!(mismatch.at.ends_with("b.npy"), "{mismatch}"),
            other => panic!("{other:?}"),
        }
    };
    (0..array.len()).step_by(5).for_each(|length| refused(&array[..length]));
    for dictionary in [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3, 2), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 3, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, -3, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000, 4000000000), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3, 2",
        "",
    ] {
        refused(&npy(dictionary, &values));
    }
    assert!(matches!(FloatRows::open(folder.path()), Err(Error::File(_))));
}
