//! Finds the numbers in the sources at which code changes its behaviour.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A number in the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Its file, relative to the repository.
    pub file: String,
    /// The name of a constant, or the expression that holds a literal.
    pub expression: String,
}

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the numbers of all Rust and WGSL sources of the engine, without those of unit tests.
///
/// Constants of a numeric type count. Literals count if they are 2 or more and are compared, limit a value, or
/// end a range. 0 and 1 only tell whether something exists, which is not a threshold.
pub fn numbers() -> BTreeSet<Number> {
    let mut files = Vec::new();
    for folder in ["engine/src", "shaders"] {
        collect(&root().join(folder), &mut files);
    }
    files.iter().flat_map(|file| numbers_of(file)).collect()
}

/// Adds the Rust and WGSL files of a folder and its subfolders, without unit tests' folders.
pub fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a file").path();
        if path.is_dir() && !path.ends_with("tests") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "wgsl") {
            files.push(path);
        }
    }
}

fn numbers_of(path: &Path) -> Vec<Number> {
    let text = fs::read_to_string(path).expect("a source");
    // Unit tests are the last module of a file, or a folder `tests`.
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let file = path.strip_prefix(root()).expect("a file of the repository").to_string_lossy().replace('\\', "/");
    let found = code.lines().flat_map(|line| expressions(line.split("//").next().unwrap_or_default()));
    found.map(|expression| Number { file: file.clone(), expression }).collect()
}

/// Returns the numbers in a line: the first group of each match.
pub fn expressions(line: &str) -> Vec<String> {
    static PATTERNS: LazyLock<[Regex; 5]> = LazyLock::new(patterns);
    let captures = PATTERNS.iter().flat_map(|pattern| pattern.captures_iter(line));
    captures.map(|captures| captures[1].to_string()).collect()
}

fn patterns() -> [Regex; 5] {
    const LITERAL: &str = r"(?:[2-9]|[1-9][0-9_]+|0x[0-9a-f_]+)(?:u|usize|u32|u64|\.0)?";
    let constant = r"\bconst ([A-Z][A-Z0-9_]*)(?:: (?:[ui](?:8|16|32|64|size)|f32|f64|Duration))? = ";
    let compared = format!(r"[^<>=]((?:<=|>=|==|!=|<|>) (?:1 << [0-9]+|{LITERAL}))(?:[^0-9a-z_.]|$)");
    let limited = format!(r"\.((?:min|max|is_multiple_of|next_multiple_of)\({LITERAL}\))");
    let clamped = r"\.(clamp\([^;]*\))";
    let ranged = format!(r"((?:[0-9]+)?\.\.=?(?:1 << [0-9]+|{LITERAL}))(?:\)| =>)");
    [constant, &compared, &limited, clamped, &ranged].map(|pattern| Regex::new(pattern).expect("a pattern"))
}
