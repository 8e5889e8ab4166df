//! Presents a model's tensors as weights that percept's models read.

use std::collections::BTreeMap;

use percept::weights::{WeightSource, to_f32};
use percept::{Error, Result, Shape};

use crate::checkpoint::Tensor;

/// Tensors from any source, under the names of model files.
pub struct View {
    name: String,
    tensors: BTreeMap<String, Tensor>,
}

impl View {
    /// Creates a view of a checkpoint's tensors. Errors call it `name`.
    pub fn new(name: &str, tensors: &BTreeMap<String, Tensor>) -> Self {
        View { name: name.to_string(), tensors: tensors.clone() }
    }
}

impl WeightSource for View {
    fn name(&self) -> &str {
        &self.name
    }

    fn tensors(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        Shape::new(self.tensors.get(tensor)?.shape()).ok()
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        let found = self.tensors.get(tensor);
        let found = found.ok_or_else(|| Error::file(&self.name, format!("a tensor {tensor}"), "none of that name"))?;
        if found.elements() != out.len() {
            return Err(Error::shape(tensor, format!("{} elements", out.len()), found.elements()));
        }
        to_f32(found.dtype(), &found.read()?, out).map_err(|error| error.within(tensor).within(&self.name))
    }
}
