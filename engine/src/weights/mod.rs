//! Sources of weights, and the conversion of a checkpoint's tensors to the weights that kernels read.

mod file;
#[cfg(feature = "std")]
mod open;
mod positions;
mod recipe;
mod rounding;
mod scope;
mod synthetic;

use alloc::string::String;
use alloc::vec::Vec;

pub use file::{ModelFile, kind_and_config, to_f32};
#[cfg(feature = "std")]
pub use open::{ModelBytes, OpenModel};
pub use positions::{Positions, Prefix, Resizing};
pub use recipe::{Factor, Part, Recipe, Source, Term};
pub(crate) use rounding::Halver;
pub use rounding::{Rounding, WeightRounding};
pub use scope::{Checkpoint, Scope, tensors_of};
pub use synthetic::Synthetic;
#[cfg(feature = "std")]
pub(crate) use synthetic::fnv1a64;

use crate::{Error, Result, Shape};

/// A source of named `f32` tensors, such as a model file or synthetic weights.
pub trait WeightSource: Sync {
    /// Returns the name of the source in error messages, such as the file's name.
    fn name(&self) -> &str;

    /// Returns the names of all tensors.
    fn tensors(&self) -> Vec<String>;

    /// Returns the tensor's shape, or `None` if it does not exist.
    fn shape(&self, tensor: &str) -> Option<Shape>;

    /// Reads a tensor into `out` in row-major order, converting its elements to `f32`.
    ///
    /// # Errors
    /// Returns an error if the tensor does not exist, if `out` does not have as many elements, or if the
    /// type cannot be converted to `f32`.
    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()>;

    /// Returns a whole tensor, checked for NaN and infinities.
    ///
    /// # Errors
    /// Returns the errors of [`WeightSource::read`], and [`Error::NotFinite`] if an element is NaN or infinite.
    fn tensor(&self, tensor: &str) -> Result<Vec<f32>> {
        let shape = self
            .shape(tensor)
            .ok_or_else(|| Error::file(self.name(), alloc::format!("a tensor {tensor}"), "none of that name"))?;
        let mut values = alloc::vec![0.0f32; shape.elements()];
        self.read(tensor, &mut values)?;
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let at = alloc::format!("{}: {tensor}", self.name());
            return Err(Error::not_finite(
                at,
                "finite weights",
                alloc::format!("{} at element {place}", values[place]),
            ));
        }
        Ok(values)
    }
}
