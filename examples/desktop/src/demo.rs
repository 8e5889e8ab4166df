//! The demo's bundles and pictures.

use std::path::{Path, PathBuf};

/// Where they lie: in the source tree that the program was built in.
fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

/// The demo's bundles.
pub fn bundles() -> Vec<PathBuf> {
    ["trunk.bundle.json", "head.bundle.json"].map(|name| assets().join(name)).into()
}

/// The demo's pictures, by name; none where they are not there.
pub fn pictures() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(assets().join("images")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();
    paths
}

/// A file's name without its folder and endings.
pub fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_string()
}
