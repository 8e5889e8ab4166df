//! The driver's compiled pipelines on disk, so that only the first start has to compile them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The start of a cache file. Another version of percept does not read the file.
const MAGIC: &[u8] = concat!("percept pipelines ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();
/// The size of the checksum that follows, in bytes.
const CHECKSUM: usize = 32;

/// The driver's cache of compiled pipelines, and its file. Files are in `$PERCEPT_CACHE`, or else in a folder
/// `percept` in the user's cache folder. If the folder is not writable, nothing is stored.
pub(super) struct DiskCache {
    cache: wgpu::PipelineCache,
    path: Option<PathBuf>,
}

impl DiskCache {
    /// Opens the cache of an adapter and driver, or returns `None` if the device does not support pipeline caches.
    ///
    /// A file that is damaged, or belongs to another adapter, driver or version, is ignored and overwritten later.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = folder(|name| std::env::var_os(name)).and_then(|folder| Some(folder.join(file_name(info)?)));
        let data = path.as_deref().and_then(read);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("percept"), data: data.as_deref(), fallback: true };
        // SAFETY: the data was written by `save`: its checksum is correct, and its file is named after the adapter
        // and driver. The driver also checks its own header, and starts with an empty cache (`fallback`) if the
        // header does not match.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(DiskCache { cache, path })
    }

    /// Returns the cache, for creating pipelines.
    pub fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes the cache, completely or not at all. Errors are ignored, because a missing cache costs time but does
    /// not change a result.
    pub fn save(&self) {
        if let (Some(path), Some(data)) = (&self.path, self.cache.get_data()) {
            let _ = write(path, &data);
        }
    }
}

/// Returns the folder of cache files, given the values of environment variables. An empty variable counts as unset.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || {
        let caches = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA"));
        let caches = caches.or_else(|| folder("HOME").map(|home| home.join(".cache")));
        caches.map(|caches| caches.join("percept"))
    };
    folder("PERCEPT_CACHE").or_else(user)
}

/// Returns the name of an adapter's cache file, which differs for every driver, or `None` if the backend has no
/// pipeline caches.
fn file_name(info: &wgpu::AdapterInfo) -> Option<String> {
    let key = wgpu::util::pipeline_cache_key(info)?;
    // Quoted, so that no two triples yield the same text.
    let driver = Sha256::digest(format!("{:?}", (&info.name, &info.driver, &info.driver_info)));
    let driver: String = driver.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{key}_{driver}"))
}

/// Returns the data of a file, or `None` if the file is missing or damaged.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a file, and returns its path and bytes.
    fn written(folder: &Path, data: &[u8]) -> (PathBuf, Vec<u8>) {
        let path = folder.join("pipelines");
        write(&path, data).expect("a file");
        let file = fs::read(&path).expect("the file");
        (path, file)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("not/there/yet");
        // Each file replaces the one before.
        for data in [&b"pipelines"[..], b"", &[7; 5000]] {
            let (path, _) = written(&inner, data);
            assert_eq!(read(&path).as_deref(), Some(data));
        }
        assert_eq!(fs::read_dir(inner).expect("a folder").count(), 1, "one file, and nothing beside it");
    }

    #[test]
    fn a_file_names_its_version_and_holds_sha_256_of_its_data() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, file) = written(folder.path(), b"abc");
        let version = format!("percept pipelines {}\n", env!("CARGO_PKG_VERSION"));
        let rest = file.strip_prefix(version.as_bytes()).expect("the version");
        let (checksum, data) = rest.split_at(32);
        // FIPS 180-2, appendix B.1.
        let hexadecimal: String = checksum.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hexadecimal, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(data, b"abc");
    }

    #[test]
    fn a_file_with_any_bit_flipped_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, file) = written(folder.path(), b"the driver's pipelines");
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).expect("a file");
            assert_eq!(read(&path), None, "bit {bit} of {} bytes", file.len());
        }
        fs::write(&path, file).expect("a file");
        assert!(read(&path).is_some());
    }

    #[test]
    fn a_file_that_is_cut_off_or_longer_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, file) = written(folder.path(), b"the driver's pipelines");
        for length in 0..file.len() {
            fs::write(&path, &file[..length]).expect("a file");
            assert_eq!(read(&path), None, "{length} of {} bytes", file.len());
        }
        for more in [&[0][..], &file] {
            fs::write(&path, [&file, more].concat()).expect("a file");
            assert_eq!(read(&path), None, "{} bytes more", more.len());
        }
        assert_eq!(read(&folder.path().join("nowhere")), None);
        assert_eq!(read(folder.path()), None, "a folder");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, file) = written(folder.path(), b"pipelines");
        assert!(write(&path.join("inside/of a file"), b"others").is_err());
        fs::create_dir(folder.path().join("taken")).expect("a folder");
        assert!(write(&folder.path().join("taken"), b"others").is_err());
        assert_eq!(fs::read(&path).expect("the file"), file);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn every_adapter_and_driver_has_a_file_of_its_own() {
        let info = |vendor, device, [name, driver, driver_info]: [&str; 3]| wgpu::AdapterInfo {
            name: name.into(),
            vendor,
            device,
            driver: driver.into(),
            driver_info: driver_info.into(),
            ..wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Vulkan)
        };
        let card = ["card", "maker", "1.2.3"];
        let infos = [
            info(1, 2, card),
            info(3, 2, card),
            info(1, 3, card),
            info(1, 2, ["other card", "maker", "1.2.3"]),
            info(1, 2, ["card", "other maker", "1.2.3"]),
            info(1, 2, ["card", "maker", "1.2.4"]),
            info(1, 2, ["card", "maker", ""]),
            // The same words, split differently.
            info(1, 2, ["card maker", "1.2.3", ""]),
            info(1, 2, ["card", "maker 1.2.3", ""]),
            info(1, 2, ["", "card", "maker 1.2.3"]),
        ];
        let names: Vec<String> = infos.iter().map(|info| file_name(info).expect("a name")).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{:?} has the file of another", infos[at]);
            assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'), "{name}");
        }
        let vulkan = &infos[0];
        for backend in [wgpu::Backend::Metal, wgpu::Backend::Dx12, wgpu::Backend::Gl, wgpu::Backend::BrowserWebGpu] {
            assert_eq!(file_name(&wgpu::AdapterInfo { backend, ..vulkan.clone() }), None, "{backend:?} has no caches");
        }
    }

    #[test]
    fn the_first_of_the_variables_that_is_set_names_the_folder() {
        let all = [("PERCEPT_CACHE", "a"), ("XDG_CACHE_HOME", "b"), ("LOCALAPPDATA", "c"), ("HOME", "d")];
        let expected = ["a", "b/percept", "c/percept", "d/.cache/percept"];
        for (first, expected) in expected.into_iter().enumerate() {
            for unset in [None, Some(OsString::new())] {
                let variable = |name: &str| {
                    let at = all.iter().position(|(known, _)| *known == name).expect("a variable that is known");
                    if at < first { unset.clone() } else { Some(all[at].1.into()) }
                };
                assert_eq!(folder(variable), Some(PathBuf::from(expected)));
            }
        }
        assert_eq!(folder(|_| None), None);
    }
}
