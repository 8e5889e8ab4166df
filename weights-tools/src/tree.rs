//! Formats dotted names as a tree.

use std::fmt::Write;

use crate::checkpoint::{Dtype, Tensor};
use crate::text::{bytes, printable};

/// Formats sorted tensors as a tree. Each tensor has a line below the part of its name that it shares with its
/// neighbours.
pub fn tree(tensors: &[Tensor]) -> String {
    let mut lines = Vec::new();
    branch(tensors, 0, 0, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.into_iter().fold(String::new(), |mut text, (name, what)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:width$}  {what}");
        text
    })
}

/// Adds the lines of tensors whose names share their first `taken` bytes.
fn branch(tensors: &[Tensor], taken: usize, depth: usize, lines: &mut Vec<(String, String)>) {
    // A name may end where others continue.
    let behind = |tensor: &Tensor| tensor.name().get(taken..).unwrap_or_default().to_string();
    let part = |tensor: &Tensor| behind(tensor).split('.').next().unwrap_or_default().to_string();
    let indent = "  ".repeat(depth);
    let mut rest = tensors;
    while let Some(first) = rest.first() {
        let own = part(first);
        let count = rest.iter().take_while(|tensor| part(tensor) == own).count();
        let (group, others) = rest.split_at(count);
        rest = others;
        if group.len() == 1 || own.is_empty() {
            for tensor in group {
                let shape = format!("{:?}", tensor.shape());
                let what = format!("{:4} {shape:20} {}", dtype(tensor.dtype()), bytes(tensor.byte_len()));
                lines.push((format!("{indent}{}", printable(&behind(tensor))), what));
            }
            continue;
        }
        // Extends the common part by all further parts that the whole group shares.
        let mut end = taken + own.len();
        while let Some(next) = next_common(group, end) {
            end = next;
        }
        let total = group.iter().map(Tensor::byte_len).sum();
        let common = printable(&first.name()[taken..end]);
        lines.push((format!("{indent}{common}"), format!("{count} tensors, {}", bytes(total))));
        branch(group, end + 1, depth + 1, lines);
    }
}

/// Returns the end of the next part of the names, if all tensors share that part and continue after it.
fn next_common(group: &[Tensor], end: usize) -> Option<usize> {
    let next = |tensor: &Tensor| {
        let rest = tensor.name().get(end + 1..)?;
        rest.find('.').map(|length| end + 1 + length)
    };
    let first = next(&group[0])?;
    let prefix = &group[0].name()[..=first];
    group.iter().all(|tensor| tensor.name().starts_with(prefix)).then_some(first)
}

/// Returns a type's name as in Rust.
pub(crate) fn dtype(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}
