//! The demo set: pictures and models that come with the program.

use std::fs;
use std::path::{Path, PathBuf};

use percept::{Error, Result};

/// The bundles of the demo, in the order of their columns.
const BUNDLES: [&str; 2] = ["trunk.bundle.json", "head.bundle.json"];

/// Returns the demo's bundles.
///
/// # Errors
/// Returns [`Error::File`] if the demo set is not found.
pub fn bundles() -> Result<Vec<PathBuf>> {
    let assets = assets()?;
    Ok(BUNDLES.iter().map(|name| assets.join(name)).collect())
}

/// Returns the demo's pictures, sorted by name.
///
/// # Errors
/// Returns [`Error::File`] if the demo set is not found.
pub fn pictures() -> Result<Vec<PathBuf>> {
    let folder = assets()?.join("images");
    let unreadable = |error| Error::file(folder.display(), "the folder of the demo's pictures", error);
    let entries = fs::read_dir(&folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(unreadable)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();
    if paths.is_empty() {
        return Err(Error::file(folder.display(), "the demo's pictures", "a folder without a .png file"));
    }
    Ok(paths)
}

/// Returns the folder of the demo set: in the source tree that the program was built in, or next to the program.
fn assets() -> Result<PathBuf> {
    let in_the_sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|examples| examples.join("assets"));
    let program = std::env::current_exe().ok();
    let beside_it = program.as_deref().and_then(Path::parent).map(|folder| folder.join("assets"));
    let folders: Vec<PathBuf> = [in_the_sources, beside_it].into_iter().flatten().collect();
    folders.iter().find(|folder| folder.join(BUNDLES[0]).is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let expected = "the demo set in one of these folders; else give pictures and their --bundle";
        Error::file(looked.join(", "), expected, format!("no {} there", BUNDLES[0]))
    })
}
