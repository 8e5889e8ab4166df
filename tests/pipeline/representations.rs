//! Tests that files of representations are aligned, complete, and never half written.

use std::fs;
use std::path::Path;

use percept::Error;
use percept::Representations;
use percept_tests::SplitMix;

const DIM: usize = 5;
const FILES: [&str; 4] = ["h.npy", "h.npz", "h.safetensors", "h.jsonl"];

fn representations(names: &[&str]) -> Representations {
    Representations {
        dim: DIM,
        names: names.iter().map(|name| name.to_string()).collect(),
        metadata: vec![("layer".into(), "trunk".into())],
    }
}

fn rows(count: usize) -> Vec<Vec<f32>> {
    SplitMix::new(3).floats(count * DIM).chunks(DIM).map(<[f32]>::to_vec).collect()
}

fn write(path: &Path, names: &[&str], rows: Vec<Vec<f32>>) -> percept::Result<()> {
    representations(names).write(path, rows.into_iter().map(Ok))
}

/// A reader can map the file into memory and use the values in place, for names of any length.
#[test]
fn the_values_of_a_safetensors_file_are_aligned() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("h.safetensors");
    for length in 1..=9 {
        let name = "x".repeat(length);
        write(&path, &[&name, "b.png"], rows(2)).expect("a file");
        let bytes = fs::read(&path).expect("the file");
        let (header, _) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
        assert_eq!((8 + header) % 8, 0, "a name of {length} bytes");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a .safetensors file");
        let h = file.tensor("h").expect("h");
        let values: Vec<f32> = h.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        assert_eq!((h.shape(), values), (&[2, DIM][..], rows(2).concat()));
    }
}

#[test]
fn rows_that_do_not_match_the_names_leave_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in FILES {
        let path = folder.path().join(name);
        let short = vec![vec![0.0; DIM], vec![0.0; DIM - 1]];
        for (rows, got) in [(rows(1), "1 rows"), (rows(3), "values in row 2"), (short, "4 values in row 1")] {
            match write(&path, &["a.png", "b.png"], rows) {
                Err(Error::Shape(mismatch)) => assert!(mismatch.got.contains(got), "{name}: {mismatch}"),
                other => panic!("{name}, {got}: {other:?}"),
            }
            assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0, "{name}, {got}");
        }
    }
}

#[test]
fn a_file_that_was_there_stays_if_the_new_one_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in FILES {
        let path = folder.path().join(name);
        fs::write(&path, "before").expect("a file");
        let failing = [Ok(vec![0.0; DIM]), Err(Error::config("a picture", "one that can be read", "none"))];
        let error = representations(&["a.png", "b.png"]).write(&path, failing).expect_err("the rows' error");
        assert!(matches!(error, Error::Config(_)), "{name}: {error}");
        assert_eq!(fs::read(&path).expect("the file"), b"before", "{name}");
        write(&path, &["a.png", "b.png"], rows(2)).expect("a file");
        assert_ne!(fs::read(&path).expect("the file"), b"before", "{name}");
        fs::remove_file(&path).expect("the file");
    }
}
