//! The embedding example: it runs, and the README shows it as it is.

use std::fs;

use crate::{Folder, root};

#[test]
fn writes_four_samples() {
    let folder = Folder::new();
    let ended = folder.command("embed").output().expect("embed starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let names: Vec<String> = (0..4).map(|index| format!("sample_{index}.png")).collect();
    assert_eq!(folder.names(), names);
    for name in names {
        let sample = image::open(folder.path(&name)).expect("a picture");
        assert_eq!((sample.width(), sample.height()), (32, 32), "{name}");
    }
}

#[test]
fn the_readme_shows_it() {
    let program = fs::read_to_string(root().join("examples/embed/src/bin/embed.rs")).expect("the example");
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.contains(program.trim()), "README.md does not have examples/embed/src/bin/embed.rs as it is");
}
