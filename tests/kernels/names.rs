//! Tests that a kernel has the same name in every folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use percept::kernels::Kernel;

/// Returns the names of a folder's files with this extension, without the extension.
fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder))
        .expect("the repository's folder")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

#[test]
fn every_kernel_has_its_shader_and_every_shader_its_kernel() {
    let kernels: BTreeSet<String> = Kernel::NAMES.iter().map(|name| name.to_string()).collect();
    assert_eq!(stems("shaders", "wgsl"), kernels);
}

#[test]
fn every_kernel_has_cases() {
    let with_cases: BTreeSet<&str> = super::every_case().iter().map(|case| case.kernel.name()).collect();
    assert_eq!(with_cases, Kernel::NAMES.iter().copied().collect());
}
