//! The driver's compiled pipelines on disk, so that only the first start is a cold one.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What a cache file begins with; another version of percept begins anew.
const MAGIC: &[u8] = concat!("percept pipelines ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();
/// Bytes of the checksum that follows.
const CHECKSUM: usize = 32;

/// The driver's cache of compiled pipelines, and its file. Files are in `$PERCEPT_CACHE`, or a folder `percept` in
/// the user's folder of caches; where neither can be written nothing is kept.
pub(super) struct DiskCache {
    cache: wgpu::PipelineCache,
    path: Option<PathBuf>,
}

impl DiskCache {
    /// The cache of an adapter and driver; none where the device has no such feature.
    ///
    /// A file that is not whole, or of another adapter, driver or version, is not read and overwritten later.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = wgpu::util::pipeline_cache_key(info).and_then(|key| {
            let driver = Sha256::digest(format!("{} {} {}", info.name, info.driver, info.driver_info));
            let driver: String = driver.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            Some(folder()?.join(format!("{key}_{driver}")))
        });
        let data = path.as_deref().and_then(read);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("percept"), data: data.as_deref(), fallback: true };
        // SAFETY: the data is what `save` wrote: its checksum is right and its file is named by adapter and driver.
        // The driver checks its own header besides, and begins anew (`fallback`) where that is not its own.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(DiskCache { cache, path })
    }

    /// The cache, for the making of pipelines.
    pub fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes the cache, whole or not at all. A cache that cannot be written costs time, never a result, so that
    /// nothing is said about it.
    pub fn save(&self) {
        if let (Some(path), Some(data)) = (&self.path, self.cache.get_data()) {
            let _ = write(path, &data);
        }
    }
}

fn folder() -> Option<PathBuf> {
    let user = || {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let folder = std::env::var_os("XDG_CACHE_HOME").or_else(|| std::env::var_os("LOCALAPPDATA"));
        folder.map(PathBuf::from).or_else(home).map(|folder| folder.join("percept"))
    };
    std::env::var_os("PERCEPT_CACHE").map(PathBuf::from).or_else(user)
}

/// The data of a file that is whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file = fs::read(path).ok()?;
    let (checksum, data) = file.strip_prefix(MAGIC)?.split_at_checked(CHECKSUM)?;
    (Sha256::digest(data).as_slice() == checksum).then(|| data.to_vec())
}

fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), [MAGIC, Sha256::digest(data).as_slice(), data].concat())?;
    file.persist(path)?;
    Ok(())
}
