//! Tests checkpoints: every container holds the same tensors, and a damaged file gives an error.

mod convert;
mod faults;
mod folding;
mod hostile;
mod inspect;
mod layouts;
mod presets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use percept_weights::Checkpoint;

/// Returns the path of a file that `make.py` wrote.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/files").join(name)
}

/// Type, shape and bytes of a tensor.
type Content = (String, Vec<usize>, Vec<u8>);

/// Reads all tensors, by name.
fn contents(path: &Path) -> percept::Result<BTreeMap<String, Content>> {
    let checkpoint = Checkpoint::open(path)?;
    let content = |tensor: &percept_weights::checkpoint::Tensor| {
        let described = (format!("{:?}", tensor.dtype()), tensor.shape().to_vec(), tensor.read()?.into_owned());
        Ok((tensor.name().to_string(), described))
    };
    checkpoint.tensors().iter().map(content).collect()
}

/// The tensors are views of shared storage, with strides, empty and scalar, and of every type that people save.
#[test]
fn every_container_holds_the_same_tensors() {
    let want = contents(&file("plain.safetensors")).expect("a file");
    assert_eq!(want.len(), 17);
    let types: Vec<&str> = want.values().map(|(dtype, ..)| dtype.as_str()).collect();
    for dtype in ["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL"] {
        assert!(types.contains(&dtype), "{dtype}");
    }
    for name in ["zip.pth", "legacy.pth", "model.safetensors.index.json"] {
        let got = contents(&file(name)).expect("a checkpoint");
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, content) in &want {
            assert_eq!(&got[tensor], content, "{tensor} of {name}");
        }
    }
}

/// Arrays saved by NumPy, row- and column-major. NumPy has no bfloat16.
#[test]
fn arrays_of_numpy() {
    let mut want = contents(&file("plain.safetensors")).expect("a file");
    want.retain(|_, (dtype, ..)| dtype != "BF16");
    for name in ["arrays.npz", "columns.npz"] {
        assert_eq!(contents(&file(name)).expect("arrays"), want, "{name}");
    }
}

/// If the header's length is 123, or 256 more, the file begins with a brace, like an index.
#[test]
fn a_header_of_any_length_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for spaces in 0..600 {
        let header =
            format!("{{\"a\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}{}}}", " ".repeat(spaces));
        let path = folder.path().join("any.safetensors");
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), b"x"].concat();
        std::fs::write(&path, file).expect("a file");
        let got = contents(&path).expect("a file that can be read");
        assert_eq!(got["a"], ("U8".into(), vec![1], b"x".to_vec()), "{} bytes", header.len());
    }
}

#[test]
fn numbers_in_names_are_in_the_order_of_numbers() {
    let checkpoint = Checkpoint::open(&file("zip.pth")).expect("a checkpoint");
    let layers = checkpoint.tensors().iter().filter_map(|tensor| tensor.name().split("layer1.").nth(1));
    let layers: Vec<&str> = layers.collect();
    assert_eq!(layers, ["0.weight", "1.weight", "2.weight", "9.weight", "10.weight"]);
}
