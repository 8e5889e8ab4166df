//! Where weights come from, and how tensors of a checkpoint become what kernels read.

mod file;
mod positions;
mod recipe;
mod rounding;
mod scope;
mod synthetic;

use alloc::string::String;
use alloc::vec::Vec;

pub use file::{ModelFile, kind_and_config, to_f32};
pub use positions::{Positions, Prefix, Resizing};
pub use recipe::{Factor, Part, Recipe, Source, Term};
pub(crate) use rounding::Halver;
pub use rounding::{Rounding, WeightRounding};
pub use scope::{Checkpoint, Scope, tensors_of};
pub use synthetic::Synthetic;
#[cfg(feature = "std")]
pub(crate) use synthetic::fnv1a64;

use crate::{Error, Result, Shape};

/// Named tensors of `f32`: a model file, or made up.
pub trait WeightSource: Sync {
    /// What to call it in an error: a file's name.
    fn name(&self) -> &str;

    /// The names of all tensors.
    fn tensors(&self) -> Vec<String>;

    /// The shape of a tensor, where there is such a one.
    fn shape(&self, tensor: &str) -> Option<Shape>;

    /// Reads a tensor, as `f32` whatever its type in the file, row-major.
    ///
    /// # Errors
    /// Where there is no such tensor, `out` has another number of elements, or its type is no float.
    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()>;

    /// A whole tensor, checked for NaN and infinities.
    ///
    /// # Errors
    /// As [`WeightSource::read`], and [`Error::NotFinite`].
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
