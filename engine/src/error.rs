//! The one error type: what was expected, what came, and where.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The result of everything in percept that can fail.
pub type Result<T> = core::result::Result<T, Error>;

/// What went wrong. Every variant names the place (`at`: a file, tensor, layer, field or flag), what
/// was expected there and what came instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A tensor's shape is not the one an operation takes.
    Shape(Mismatch),
    /// A configuration field, an option or a flag has a value that cannot be used.
    Config(Mismatch),
    /// A file cannot be read or written, or is not what its place asks for.
    File(Mismatch),
    /// An image cannot be decoded, or is over a size limit.
    Image(Mismatch),
    /// No device answers to a name.
    Device(Mismatch),
    /// A device was lost: taken out, reset by its driver. Everything on it has to be made anew.
    DeviceLost(Mismatch),
    /// A device has not enough memory.
    OutOfMemory(Mismatch),
    /// A driver refused a shader, or the use of one.
    Shader(Mismatch),
    /// A tensor holds NaN or an infinity.
    NotFinite(Mismatch),
    /// A model file's tensors are not those of its configuration.
    Weights(WeightsReport),
}

/// Where something differs from what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The file, tensor, layer, field or flag.
    pub at: String,
    /// What would have been right.
    pub expected: String,
    /// What was found.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.at, self.expected, self.got)
    }
}

/// Everything that is wrong with the tensors of a model file, not only the first thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightsReport {
    /// The kind of model that was being built, and from what.
    pub model: String,
    /// Tensors that are there as the configuration asks for them.
    pub matched: Vec<String>,
    /// Tensors that the configuration asks for and the file lacks, each with the unexpected tensor
    /// of the nearest name, where one is near.
    pub missing: Vec<(String, Option<String>)>,
    /// Tensors whose shape differs from the configuration's.
    pub misshaped: Vec<Mismatch>,
    /// Tensors of the file that the configuration has no place for.
    pub unexpected: Vec<String>,
}

impl WeightsReport {
    /// True where nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.misshaped.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for WeightsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: the tensors do not fit the configuration: {} missing, {} of another shape, {} unexpected",
            self.model,
            self.missing.len(),
            self.misshaped.len(),
            self.unexpected.len()
        )?;
        for (name, near) in &self.missing {
            write!(f, "\n  missing {name}")?;
            if let Some(near) = near {
                write!(f, " (the file has {near})")?;
            }
        }
        for mismatch in &self.misshaped {
            write!(f, "\n  {mismatch}")?;
        }
        for name in &self.unexpected {
            write!(f, "\n  unexpected {name}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape(m)
            | Error::Config(m)
            | Error::File(m)
            | Error::Image(m)
            | Error::Device(m)
            | Error::DeviceLost(m)
            | Error::OutOfMemory(m)
            | Error::Shader(m)
            | Error::NotFinite(m) => m.fmt(f),
            Error::Weights(report) => report.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl Error {
    /// The same error, its place being inside of another: a field of a file, say.
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        match &mut self {
            Error::Shape(m)
            | Error::Config(m)
            | Error::File(m)
            | Error::Image(m)
            | Error::Device(m)
            | Error::DeviceLost(m)
            | Error::OutOfMemory(m)
            | Error::Shader(m)
            | Error::NotFinite(m) => m.at = alloc::format!("{place}: {}", m.at),
            // It names its file.
            Error::Weights(_) => {}
        }
        self
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $variant:ident;)*) => {
        impl Error {
            $($(#[$doc])*
            pub fn $name(at: impl ToString, expected: impl ToString, got: impl ToString) -> Self {
                Error::$variant(Mismatch {
                    at: at.to_string(),
                    expected: expected.to_string(),
                    got: got.to_string(),
                })
            })*
        }
    };
}

constructors! {
    /// An [`Error::Shape`].
    shape => Shape;
    /// An [`Error::Config`].
    config => Config;
    /// An [`Error::File`].
    file => File;
    /// An [`Error::Image`].
    image => Image;
    /// An [`Error::Device`].
    device => Device;
    /// An [`Error::DeviceLost`].
    device_lost => DeviceLost;
    /// An [`Error::OutOfMemory`].
    out_of_memory => OutOfMemory;
    /// An [`Error::Shader`].
    shader => Shader;
    /// An [`Error::NotFinite`].
    not_finite => NotFinite;
}
