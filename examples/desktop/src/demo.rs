//! The demo's bundles and pictures.

use std::path::{Path, PathBuf};

/// Returns the folder of the demo, in the source tree that the program was built in.
fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

/// Returns the demo's bundles.
pub fn bundles() -> Vec<PathBuf> {
    ["trunk.bundle.json", "head.bundle.json"].map(|name| assets().join(name)).into()
}

/// Returns the demo's pictures, sorted by name, or no pictures if the folder cannot be read.
pub fn pictures() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(assets().join("images")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();
    paths
}

/// Returns a file's name without its folder and extensions.
pub fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_string()
}
