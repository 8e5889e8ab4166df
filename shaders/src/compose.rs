//! Composes the WGSL of one variant from a kernel's file and the parts that it imports.
//!
//! Lines that begin with `#` are directives. All other lines are WGSL, in which `$name` stands for the value of a
//! constant. Write `${name}` if a letter or digit follows.
//!
//! ```text
//! #import part        inserts shared/part.wgsl, at its first import only
//! #if flag            keeps the lines up to #else or #end if the variant has the flag; #if !flag, if not
//! #for i in 0..N      repeats the lines up to #end for each i; N is a number or $name
//! ```
//!
//! This is a language of our own because of `#for`: a register tile has to be variables, not an array that every
//! driver would have to unroll first, and neither `wesl` nor `naga_oil` repeats lines. A dozen kernels do not need
//! their other features (name mangling, modules), and applications that embed percept do not have to build them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The reason why a variant cannot be composed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeError {
    /// The name of the file.
    pub file: String,
    /// The line in the file, counted from 1.
    pub line: usize,
    /// The description of the error.
    pub message: String,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for ComposeError {}

/// Composes `file`. `read` returns the text of a file, for `file` and for its imports.
///
/// # Errors
/// Returns an error if a directive is unknown or not closed, or names a part or a constant that does not exist.
pub fn compose<'a>(
    file: &str,
    read: &dyn Fn(&str) -> Option<&'a str>,
    flags: &BTreeSet<&str>,
    constants: &BTreeMap<&str, u32>,
) -> Result<String, ComposeError> {
    // WGSL requires `enable` directives before anything else.
    let output = if flags.contains("f16") { "enable f16;\n".to_string() } else { String::new() };
    let mut composer = Composer { read, flags, imported: BTreeSet::new(), output };
    let values = constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    composer.file(file, &values).map(|()| composer.output)
}

type Values = BTreeMap<String, u32>;

struct Composer<'f, 'a> {
    read: &'f dyn Fn(&str) -> Option<&'a str>,
    flags: &'f BTreeSet<&'f str>,
    imported: BTreeSet<String>,
    output: String,
}

/// The lines of a file, numbered from 1.
struct Source<'a> {
    file: &'a str,
    lines: Vec<(usize, &'a str)>,
}

impl Source<'_> {
    fn error(&self, index: usize, message: impl fmt::Display) -> ComposeError {
        let line = self.lines.get(index).or(self.lines.last()).map_or(0, |(line, _)| *line);
        ComposeError { file: self.file.to_string(), line, message: message.to_string() }
    }

    /// Returns the words of a directive, or `None` if the line is WGSL.
    fn directive(&self, index: usize) -> Option<Vec<&str>> {
        let text = self.lines[index].1.trim_start().strip_prefix('#')?;
        Some(text.split_whitespace().collect())
    }

    /// Returns the index of the `#else`, if any, and of the `#end` of the block that begins at `index`.
    fn block_end(&self, index: usize) -> Result<(Option<usize>, usize), ComposeError> {
        let (mut depth, mut otherwise) = (0, None);
        for at in index + 1..self.lines.len() {
            match self.directive(at).as_deref() {
                Some(["if" | "for", ..]) => depth += 1,
                Some(["else"]) if depth == 0 => otherwise = Some(at),
                Some(["end"]) if depth == 0 => return Ok((otherwise, at)),
                Some(["end"]) => depth -= 1,
                _ => {}
            }
        }
        Err(self.error(index, "this block has no #end"))
    }
}

impl Composer<'_, '_> {
    fn file(&mut self, file: &str, values: &Values) -> Result<(), ComposeError> {
        let text = (self.read)(file).ok_or_else(|| ComposeError {
            file: file.to_string(),
            line: 0,
            message: "there is no such file".to_string(),
        })?;
        let source = Source { file, lines: (1..).zip(text.lines()).collect() };
        self.lines(&source, 0..source.lines.len(), values)
    }

    fn lines(
        &mut self,
        source: &Source<'_>,
        range: std::ops::Range<usize>,
        values: &Values,
    ) -> Result<(), ComposeError> {
        let mut at = range.start;
        while at < range.end {
            match source.directive(at).as_deref() {
                None => {
                    let line = substitute(source.lines[at].1, values).map_err(|message| source.error(at, message))?;
                    self.output.push_str(&line);
                    self.output.push('\n');
                    at += 1;
                }
                Some(["import", part]) => {
                    if self.imported.insert(part.to_string()) {
                        self.file(&format!("shared/{part}"), values)
                            .map_err(|error| if error.line == 0 { source.error(at, error) } else { error })?;
                    }
                    at += 1;
                }
                Some(["if", flag]) => {
                    let (otherwise, end) = source.block_end(at)?;
                    let wanted = match flag.strip_prefix('!') {
                        Some(flag) => !self.flags.contains(flag),
                        None => self.flags.contains(flag),
                    };
                    let middle = otherwise.unwrap_or(end);
                    let kept = if wanted { at + 1..middle } else { (middle + 1).min(end)..end };
                    self.lines(source, kept, values)?;
                    at = end + 1;
                }
                Some(["for", name, "in", range]) => {
                    let (_, end) = source.block_end(at)?;
                    let count = range.strip_prefix("0..").and_then(|count| number(count, values));
                    let count = count.ok_or_else(|| source.error(at, "want #for NAME in 0..COUNT"))?;
                    for index in 0..count {
                        let mut values = values.clone();
                        values.insert(name.to_string(), index);
                        self.lines(source, at + 1..end, &values)?;
                    }
                    at = end + 1;
                }
                Some(_) => return Err(source.error(at, "want #import, #if, #else, #for or #end in their places")),
            }
        }
        Ok(())
    }
}

/// Returns the number that `text` is, or the value of the constant that it names.
fn number(text: &str, values: &Values) -> Option<u32> {
    match text.strip_prefix('$') {
        Some(name) => values.get(name).copied(),
        None => text.parse().ok(),
    }
}

/// Replaces every `$name` in the line. Names are letters and digits, so `sum_$r_$c` contains two.
fn substitute(line: &str, values: &Values) -> Result<String, String> {
    let mut output = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        output.push_str(before);
        let (name, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("a ${ without its }")?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len())),
        };
        let value = values.get(name).ok_or_else(|| format!("this variant gives ${name} no value"))?;
        output.push_str(&value.to_string());
        rest = after;
    }
    output.push_str(rest);
    Ok(output)
}
