//! Reads .safetensors files: a single one, or several with an index.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};
use std::sync::Arc;

use percept::{Error, Result};
use safetensors::SafeTensors;
use serde_json::Value;

use super::{Bytes, Checkpoint, Tensor, map_file, open_file, unreadable};

/// The maximum size in bytes of a header, as the format defines it. Indexes are read up to the same size.
pub const MAX_HEADER: u64 = 100_000_000;
/// The number of bytes that hold the length of a header.
const LENGTH: usize = 8;

/// Opens one file.
///
/// # Errors
/// Returns [`Error::File`] if it is not a .safetensors file, or not a whole one.
pub fn single(path: &Path) -> Result<Checkpoint> {
    let map = map_file(path)?;
    let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| unreadable(path, error))?;
    let data = header + LENGTH;
    if data + metadata.data_len() != map.len() {
        let expected = format!("a whole .safetensors file of {} bytes", data + metadata.data_len());
        return Err(Error::file(path.display().to_string(), expected, map.len()));
    }
    let file = Arc::new(map);
    let tensor = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (from, to) = info.data_offsets;
        let bytes = Bytes::Mapped { file: file.clone(), range: data + from..data + to };
        Tensor { name, dtype: info.dtype, shape: info.shape.clone(), bytes }
    };
    let tensors = metadata.tensors().into_iter().map(tensor).collect();
    let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Checkpoint { name: path.display().to_string(), format: ".safetensors", metadata, tensors })
}

/// Opens the files of an index, which lie beside it.
///
/// # Errors
/// Returns [`Error::File`] if it is not an index, or if one of its files is missing or lacks a tensor.
pub fn sharded(path: &Path) -> Result<Checkpoint> {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = open_file(path)?.take(MAX_HEADER).read_to_string(&mut text);
    read.map_err(|error| unreadable(path, error))?;
    let index: Value = serde_json::from_str(&text).map_err(|error| unreadable(path, error))?;
    let expected = "an index of .safetensors files, with a \"weight_map\" from tensors to files";
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| Error::file(&name, expected, "another JSON file"))?;

    let mut of_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in map {
        let file = file
            .as_str()
            .filter(|file| is_plain(file))
            .ok_or_else(|| Error::file(&name, "names of files beside the index", format!("{file} for {tensor}")))?;
        of_file.entry(file).or_default().push(tensor);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut tensors = Vec::new();
    for (file, wanted) in of_file {
        let mut shard: BTreeMap<String, Tensor> =
            single(&folder.join(file))?.tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        for tensor in wanted {
            let missing = || Error::file(&name, format!("{tensor} in {file}"), "none of that name there");
            tensors.push(shard.remove(tensor).ok_or_else(missing)?);
        }
    }
    let metadata = index.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let metadata = metadata.map(|(key, value)| (key.clone(), value.to_string())).collect();
    Ok(Checkpoint { name, format: ".safetensors, in several files", metadata, tensors })
}

/// Returns true if a name is that of a file, without a folder. An index can thus only open files that lie beside
/// it.
fn is_plain(file: &str) -> bool {
    let mut components = Path::new(file).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}
