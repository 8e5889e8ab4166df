//! A kernel has one name, in every folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The files of a folder with this extension, without it.
fn stems(name: &str, extension: &str) -> BTreeSet<String> {
    fs::read_dir(folder(name))
        .expect("the repository's folder")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

/// The kernels, by the files that say what a kernel binds; what kernels share has no bindings.
fn kernels() -> BTreeSet<String> {
    let source = |stem: &String| {
        let path = folder("engine/src/kernels").join(stem).with_extension("rs");
        fs::read_to_string(path).expect("a source file")
    };
    let mut stems = stems("engine/src/kernels", "rs");
    stems.retain(|stem| source(stem).contains("impl Parameters for "));
    stems
}

#[test]
fn every_kernel_has_its_twin_its_shader_and_its_test() {
    let kernels = kernels();
    assert!(kernels.contains("conv"), "found {kernels:?}");
    let places = [
        ("engine/src/reference", "rs"),
        ("engine/src/gpu/dispatch", "rs"),
        ("shaders", "wgsl"),
        ("tests/kernels", "rs"),
    ];
    for (place, extension) in places {
        let there = stems(place, extension);
        let missing: Vec<&String> = kernels.difference(&there).collect();
        assert!(missing.is_empty(), "{place} lacks {missing:?}");
    }
}

#[test]
fn every_kernel_has_cases_and_goes_by_the_name_of_its_file() {
    let named: BTreeSet<String> =
        super::every_case().iter().map(|case| case.kernel.parameters().name().to_owned()).collect();
    assert_eq!(named, kernels());
}
