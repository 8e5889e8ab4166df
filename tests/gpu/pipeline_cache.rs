//! Tests pipelines that are kept on disk between processes, in the folder that `PERCEPT_CACHE` names.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept::wgpu;
use percept_tests::{left_out, ran};
use sha2::{Digest, Sha256};

use super::failures::{concatenation, no_weights};

/// Names the adapter in the processes that the test starts, which run this test again.
const ADAPTER: &str = "PERCEPT_TEST_ADAPTER";
/// The time limit of each process.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_damaged_file_is_replaced_by_a_whole_one() {
    if let Ok(adapter) = env::var(ADAPTER) {
        let gpu = Gpu::open(&Adapter::named(&adapter).expect("the adapter")).expect("a device");
        GpuExecutor::new(&gpu, concatenation(1, 4), &no_weights()).expect("a program");
        return;
    }
    for adapter in percept_tests::adapters() {
        let features = Gpu::open(&adapter).expect("a device").device().features();
        if !features.contains(wgpu::Features::PIPELINE_CACHE) {
            left_out(&adapter.name(), "pipelines kept on disk", "it has no pipeline caches");
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        make_pipelines(&adapter.name(), folder.path());
        let path = only_file(folder.path());
        let whole = fs::read(&path).expect("a file");
        check_whole(&whole, "the first");

        let mut flipped = whole.clone();
        *flipped.last_mut().expect("bytes") ^= 1;
        let other_version = [b"percept pipelines 0.0.0\n", &whole[data_of(&whole) - 32..]].concat();
        let damages = [
            ("a flipped bit", flipped),
            ("another version", other_version),
            ("half of it", whole[..whole.len() / 2].to_vec()),
            ("one byte more", [&whole[..], &[0]].concat()),
            ("nothing", Vec::new()),
        ];
        for (damage, bytes) in damages {
            fs::write(&path, &bytes).expect("a file");
            make_pipelines(&adapter.name(), folder.path());
            assert_eq!(only_file(folder.path()), path, "{damage}");
            let replaced = fs::read(&path).expect("a file");
            assert!(replaced != bytes, "{damage} is still there");
            check_whole(&replaced, damage);
        }
        ran(&adapter.name(), "pipelines kept on disk");
    }
}

/// Starts another process that creates the pipelines of a program.
fn make_pipelines(adapter: &str, cache: &Path) {
    let mut command = Command::new(env::current_exe().expect("the test has a path"));
    command.args(["--exact", "pipeline_cache::a_damaged_file_is_replaced_by_a_whole_one"]);
    command.env(ADAPTER, adapter).env("PERCEPT_CACHE", cache).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the test starts");
    let printed = ended(child);
    assert!(printed.contains("1 passed"), "{printed}");
}

/// Runs a process, which must end within [`LIMIT`], and returns its output.
fn ended(mut child: Child) -> String {
    let began = Instant::now();
    while child.try_wait().expect("a process").is_none() {
        if began.elapsed() > LIMIT {
            child.kill().expect("a process");
            panic!("not over after {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn only_file(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files: Vec<PathBuf> = entries.collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Returns the offset of the data in a cache file: after a line with the version and 32 bytes of SHA-256.
fn data_of(file: &[u8]) -> usize {
    file.iter().position(|&byte| byte == b'\n').expect("a line") + 1 + 32
}

fn check_whole(file: &[u8], which: &str) {
    assert!(file.starts_with(b"percept pipelines "), "{which}");
    let (head, data) = file.split_at(data_of(file));
    assert!(!data.is_empty(), "{which}");
    assert!(head.ends_with(&Sha256::digest(data)), "{which}: the checksum is wrong");
}
