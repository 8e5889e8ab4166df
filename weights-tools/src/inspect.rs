//! What is in a checkpoint, for people and for programs. Headers only: no element is read.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Dtype};
use crate::tree::tree;

/// The most characters of a value of metadata that are shown.
const SHOWN: usize = 200;

/// A description in lines.
pub fn text(checkpoint: &Checkpoint) -> String {
    let tensors = checkpoint.tensors();
    let total = tensors.iter().map(|tensor| tensor.byte_len()).sum();
    let mut of_type: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for tensor in tensors {
        let (count, elements) = of_type.entry(dtype(tensor.dtype())).or_default();
        (*count, *elements) = (*count + 1, *elements + tensor.elements());
    }
    let mut text =
        format!("{}: {}, {} tensors, {}\n", checkpoint.name(), checkpoint.format(), tensors.len(), bytes(total));
    // Writing to a string does not fail.
    for (name, (count, elements)) in of_type {
        let _ = writeln!(text, "{name}: {elements} elements in {count} tensors");
    }
    for (key, value) in checkpoint.metadata() {
        let shown: String = value.chars().take(SHOWN).collect();
        let more = if shown.len() < value.len() { "…" } else { "" };
        let _ = writeln!(text, "{}: {}{more}", printable(key), printable(&shown));
    }
    text.push('\n');
    text + &tree(tensors)
}

/// The same as one JSON object.
pub fn json(checkpoint: &Checkpoint) -> String {
    let tensor = |tensor: &crate::checkpoint::Tensor| -> Value {
        json!({
            "name": tensor.name(),
            "dtype": dtype(tensor.dtype()),
            "shape": tensor.shape(),
            "bytes": tensor.byte_len(),
        })
    };
    let object = json!({
        "file": checkpoint.name(),
        "format": checkpoint.format(),
        "metadata": checkpoint.metadata(),
        "tensors": checkpoint.tensors().iter().map(tensor).collect::<Vec<_>>(),
    });
    format!("{object}\n")
}

/// A text of somebody else's for a terminal: what would move its cursor or change its colours is written out.
pub(crate) fn printable(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

/// A type's name, as in Rust.
pub(crate) fn dtype(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// So many bytes, for people.
pub(crate) fn bytes(count: usize) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}
