//! The error type: the place of an error, what was expected there, and what was found.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The result of percept's fallible functions.
pub type Result<T> = core::result::Result<T, Error>;

/// The error type of percept.
///
/// Every variant except [`Error::Weights`] holds a [`Mismatch`]: the place (a file, tensor, layer, field
/// or flag), what was expected there, and what was found instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A tensor's shape is not the one that an operation takes.
    Shape(Mismatch),
    /// A configuration field, an option or a flag has a value that cannot be used.
    Config(Mismatch),
    /// A file cannot be read or written, or its content is not what was expected.
    File(Mismatch),
    /// An image cannot be decoded, or exceeds a size limit.
    Image(Mismatch),
    /// No device has the given name, or the device cannot be opened or used.
    Device(Mismatch),
    /// A device was lost: it was removed, or its driver reset it. Everything on it must be created again.
    DeviceLost(Mismatch),
    /// A device does not have enough memory.
    OutOfMemory(Mismatch),
    /// A driver rejected a shader, or its use.
    Shader(Mismatch),
    /// A tensor holds NaN or an infinity.
    NotFinite(Mismatch),
    /// The tensors of a model file do not match its configuration.
    Weights(WeightsReport),
}

/// A difference between what was expected at a place and what was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The place: a file, tensor, layer, field or flag.
    pub at: String,
    /// A description of what was expected.
    pub expected: String,
    /// A description of what was found.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.at, self.expected, self.got)
    }
}

/// A report of everything that is wrong with the tensors of a model file, not only the first problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightsReport {
    /// The source of the tensors, and the kind of model that was being built from them.
    pub model: String,
    /// The tensors that match the configuration.
    pub matched: Vec<String>,
    /// The tensors that the configuration requires and the file lacks, each with the unexpected tensor
    /// of the most similar name, if there is a similar one.
    pub missing: Vec<(String, Option<String>)>,
    /// The tensors whose shape differs from the configuration's.
    pub misshaped: Vec<Mismatch>,
    /// The tensors of the file that the configuration does not use.
    pub unexpected: Vec<String>,
}

impl WeightsReport {
    /// Returns `true` if nothing is wrong.
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
    /// Returns the same error, with its place inside another place, such as a field inside a file.
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
            // The report names its file.
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
    /// Creates an [`Error::Shape`].
    shape => Shape;
    /// Creates an [`Error::Config`].
    config => Config;
    /// Creates an [`Error::File`].
    file => File;
    /// Creates an [`Error::Image`].
    image => Image;
    /// Creates an [`Error::Device`].
    device => Device;
    /// Creates an [`Error::DeviceLost`].
    device_lost => DeviceLost;
    /// Creates an [`Error::OutOfMemory`].
    out_of_memory => OutOfMemory;
    /// Creates an [`Error::Shader`].
    shader => Shader;
    /// Creates an [`Error::NotFinite`].
    not_finite => NotFinite;
}
