//! The common part of the fuzz targets. Every input is a file, which is opened, read in full, and planned. An
//! input that takes too much memory counts as a crash.

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

/// The maximum number of bytes of elements to read per input. Reading takes linear time, and there are many
/// inputs.
const MAX_READ: usize = 4 << 20;

/// The maximum size of a model that is converted, in bytes.
const MAX_CONVERTED: u64 = 1 << 16;

/// The folder that the inputs are written to. It should be in memory: `TMPDIR=/dev/shm`.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for the inputs"));

/// Returns the path of a file in the folder of the input. The next input overwrites the file.
pub fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

/// Writes a file in the folder of the input, and returns its path.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = path(name);
    fs::write(&path, bytes).expect("a file that can be written");
    path
}

/// Opens a file, reads everything in it, and plans its conversion, under the memory limit for the input's size.
pub fn try_file(path: &Path, input: usize) {
    allocator::limited(input, || {
        let Ok(checkpoint) = Checkpoint::open(path) else { return };
        read(checkpoint.tensors());
        describe_and_plan(&checkpoint);
    });
}

/// Reads tensors, up to a limit on their total size.
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

/// Describes a checkpoint and plans its conversion. If its own configuration is incomplete, tries others that
/// complete it.
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

/// Converts small models. Errors concern the elements and are ignored.
fn convert(conversions: &[Conversion]) {
    for conversion in conversions.iter().filter(|conversion| conversion.byte_len() <= MAX_CONVERTED) {
        let _ = conversion.dry_run(&|_| ());
    }
}
