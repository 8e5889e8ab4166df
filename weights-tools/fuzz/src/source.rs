//! Writes checkpoints of any names and shapes from a text.
//!
//! A line is a tensor's name and its shape, or `@`, a key of the metadata and its value. The elements are a hole
//! in the file, so shapes may be as large as a disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The maximum number of bytes of elements, which is the most that a map can have.
const MAX_DATA: u64 = 1 << 44;

/// Writes the .safetensors file that a text describes.
pub fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut header = Map::new();
    let mut metadata = Map::new();
    let mut end = 0u64;
    for line in text.lines() {
        if let Some((key, value)) = line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
            metadata.insert(key.to_string(), value.into());
            continue;
        }
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        // A star before a name selects half precision.
        let (name, dtype, width) = match name.strip_prefix('*') {
            Some(name) => (name, "F16", 2),
            None => (name, "F32", 4),
        };
        let shape: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let bytes = shape.iter().try_fold(width, |product: u64, &dim| product.checked_mul(dim));
        let Some(next) = bytes.and_then(|bytes| end.checked_add(bytes)).filter(|&next| next <= MAX_DATA) else {
            continue;
        };
        if header.contains_key(name) {
            continue;
        }
        header.insert(name.to_string(), json!({"dtype": dtype, "shape": shape, "data_offsets": [end, next]}));
        end = next;
    }
    if !metadata.is_empty() {
        header.insert("__metadata__".to_string(), metadata.into());
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.set_len(8 + header.len() as u64 + end)
}
