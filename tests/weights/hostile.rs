//! Files that are cut short, changed or made to do harm: an error that names the file, and never a panic.

use std::fs;
use std::path::Path;

use percept::Error;
use percept_tests::SplitMix;
use tempfile::TempDir;

use super::{contents, file};

/// The error of a file, which names it.
fn refused(path: &Path) -> String {
    match contents(path) {
        Err(Error::File(mismatch)) => mismatch.to_string(),
        Err(error) => panic!("{}: {error}", path.display()),
        Ok(tensors) => panic!("{}: {} tensors", path.display(), tensors.len()),
    }
}

fn written(folder: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn what_is_cut_short_is_refused_wherever_it_is_cut() {
    let folder = TempDir::new().expect("a folder");
    for name in
        ["plain.safetensors", "zip.pth", "legacy.pth", "model.safetensors.index.json", "arrays.npz", "columns.npz"]
    {
        let whole = fs::read(file(name)).expect("a file");
        for length in (0..whole.len()).step_by(7) {
            let path = written(&folder, name, &whole[..length]);
            let told = refused(&path);
            assert!(
                told.contains(name) || told.contains("teacher.") || told.contains("optimizer."),
                "{length}: {told}"
            );
        }
    }
}

#[test]
fn what_is_changed_anywhere_is_read_or_refused() {
    let folder = TempDir::new().expect("a folder");
    let mut random = SplitMix::new(3);
    for name in ["plain.safetensors", "zip.pth", "legacy.pth", "arrays.npz", "columns.npz"] {
        let whole = fs::read(file(name)).expect("a file");
        for _ in 0..1000 {
            let mut changed = whole.clone();
            for _ in 0..=random.bits() % 3 {
                let place = random.bits() as usize % changed.len();
                changed[place] = random.bits() as u8;
            }
            // Either is right: many bytes are elements. No panic, no hang, and no error without a name.
            if let Err(error) = contents(&written(&folder, name, &changed)) {
                assert!(matches!(error, Error::File(_)), "{error}");
            }
        }
    }
}

#[test]
fn what_is_no_checkpoint_is_named() {
    let folder = TempDir::new().expect("a folder");
    assert!(refused(&folder.path().join("nowhere.pth")).contains("nowhere.pth"));
    assert!(refused(folder.path()).contains("a folder"));
    for (name, bytes) in [
        ("empty.pth", &b""[..]),
        ("picture.png", b"\x89PNG\r\n\x1a\n and more"),
        ("text.pt", b"once upon a time there was a file"),
        ("other.json", b"{\"version\": 1}"),
        // A pickle that would run a program, if anything ran it.
        ("shell.pkl", b"cos\nsystem\n(S'touch /tmp/percept_was_here'\ntR."),
    ] {
        assert!(refused(&written(&folder, name, bytes)).contains(name));
    }
    assert!(!Path::new("/tmp/percept_was_here").exists());
    // A header that claims to be longer than any file.
    let mut bomb = u64::MAX.to_le_bytes().to_vec();
    bomb.extend(b"{\"a\":{}}");
    assert!(refused(&written(&folder, "bomb.safetensors", &bomb)).contains("bomb.safetensors"));
}

#[test]
fn an_index_opens_nothing_but_what_lies_beside_it() {
    let folder = TempDir::new().expect("a folder");
    let index = |map: &str| written(&folder, "x.index.json", format!("{{\"weight_map\": {map}}}").as_bytes());
    for place in ["../plain.safetensors", "/etc/passwd", "a/b.safetensors", "", ".."] {
        assert!(refused(&index(&format!("{{\"a\": \"{place}\"}}"))).contains("beside the index"), "{place}");
    }
    assert!(refused(&index("{\"a\": 3}")).contains("beside the index"));
    assert!(refused(&index("{\"a\": \"gone.safetensors\"}")).contains("gone.safetensors"));
    fs::copy(file("plain.safetensors"), folder.path().join("here.safetensors")).expect("a copy");
    assert!(refused(&index("{\"a\": \"here.safetensors\"}")).contains("a in here.safetensors"));
}
