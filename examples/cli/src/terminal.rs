//! Printing to standard output and standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use percept::{Error, Result};

/// Prints a line to standard output. If the reader has closed the pipe, as `| head -1` does, this is not an error.
///
/// # Errors
/// Returns [`Error::File`] if the line cannot be written for another reason, such as a full disk.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", "to be writable", error))
        }
        _ => Ok(()),
    }
}

/// Prints an error to standard error. Ignores a failure to write.
pub fn print_error(error: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "error: {error}");
}

/// Prints a warning to standard error. Ignores a failure to write.
pub fn warn(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "warning: {text}");
}

/// Formats a number of things: "1 sample", "4 samples".
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Creates a progress bar with the time left. It is shown only if standard error is a terminal, and disappears when it
/// is dropped.
pub fn progress(length: u64, what: &'static str) -> ProgressBar {
    // If the template does not parse, the bar loses its layout, but the run continues.
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {percent:>3} % {elapsed} gone, {eta} left {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(length).with_style(style).with_prefix(what).with_finish(ProgressFinish::AndClear)
}
