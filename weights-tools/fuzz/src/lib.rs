//! What the fuzz targets have in common: every input is a file, every file is opened, read whole and planned, and a memory
//! bomb is a crash.

pub mod allocator;
pub mod layout;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use percept::Error;
use percept_weights::checkpoint::Tensor;
use percept_weights::convert::{Conversion, Options, plan};
use percept_weights::hyperparameters::Given;
use percept_weights::rounding::Float;
use percept_weights::{Checkpoint, inspect};
use serde_json::json;
use tempfile::TempDir;

/// The most bytes of elements that are read of one input: reading is linear, and inputs are many.
const MAX_READ: usize = 4 << 20;

/// The most bytes of a model that is converted.
const MAX_CONVERTED: u64 = 1 << 16;

/// Where the inputs are written. It should be in memory: `TMPDIR=/dev/shm`.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for the inputs"));

/// A file of the input's folder, whose contents are of the next input after this one.
pub fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

/// Writes a file of the input's folder.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = path(name);
    fs::write(&path, bytes).expect("a file that can be written");
    path
}

/// Opens a file, reads all that is in it, and plans its conversion, while memory is limited by the input's size.
pub fn try_file(path: &Path, input: usize) {
    allocator::limited(input, || {
        let Ok(checkpoint) = Checkpoint::open(path) else { return };
        read(checkpoint.tensors());
        describe_and_plan(&checkpoint);
    });
}

/// Reads tensors, up to a bound on all of them.
fn read(tensors: &[Tensor]) {
    let mut rest = MAX_READ;
    for tensor in tensors {
        let length = tensor.byte_len();
        if length <= rest {
            rest -= length;
            if let Ok(bytes) = tensor.read() {
                assert_eq!(bytes.len(), length, "{} of shape {:?}", tensor.name(), tensor.shape());
            }
        }
    }
}

/// Describes a checkpoint and plans its conversion: by its own configuration, or else by one that completes what shapes do
/// not tell.
fn describe_and_plan(checkpoint: &Checkpoint) {
    inspect::text(checkpoint);
    inspect::json(checkpoint);
    let configs =
        [json!({}), json!({"image_size": 64, "num_heads": 2}), json!({"heads": 2}), json!({"head": "simclr"})];
    for flags in configs {
        let serde_json::Value::Object(flags) = flags else { continue };
        let options = Options { given: Given { preset: None, flags }, ..Options::default() };
        match plan(checkpoint, &options) {
            Ok((conversions, _)) => {
                convert(&conversions);
                let folded = Options { fold: true, dtype: Some(Float::F16), ..options };
                if let Ok((conversions, _)) = plan(checkpoint, &folded) {
                    convert(&conversions);
                }
                break;
            }
            Err(Error::Config(_)) => {}
            Err(_) => break,
        }
    }
}

/// Converts what is small. An error is one of the elements.
fn convert(conversions: &[Conversion]) {
    for conversion in conversions.iter().filter(|conversion| conversion.byte_len() <= MAX_CONVERTED) {
        let _ = conversion.dry_run(&|_| ());
    }
}
