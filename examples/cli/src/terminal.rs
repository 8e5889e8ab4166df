//! What is printed, and where to.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use percept::{Error, Result};

/// Prints a line on standard output. That nobody reads it any more, as behind `| head -1`, is no error.
///
/// # Errors
/// Where it cannot be written for another reason, as on a full disk.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", "to be writable", error))
        }
        _ => Ok(()),
    }
}

/// Prints an error on standard error, if there is somebody to read it.
pub fn print_error(error: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "error: {error}");
}

/// Prints a warning on standard error, if there is somebody to read it.
pub fn warn(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "warning: {text}");
}

/// "1 sample", "4 samples".
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A bar with the time left, on standard error where that is a terminal and nowhere else. It goes
/// away when it is dropped.
pub fn progress(length: u64, what: &'static str) -> ProgressBar {
    // A template that does not parse would cost the layout of the bar, not the run.
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {percent:>3} % {elapsed} gone, {eta} left {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(length).with_style(style).with_prefix(what).with_finish(ProgressFinish::AndClear)
}
