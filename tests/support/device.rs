//! Running a case on a device, as a program of one op.

use std::sync::Arc;

use percept::pipeline::Device;
use percept::program::Graph;
use percept::weights::{Recipe, WeightSource};
use percept::{DType, Error, Result, Shape};

use crate::Case;

/// The one weight of a case, under the name that its binding has.
struct OneWeight {
    /// `[columns, depth]`, as a checkpoint has it.
    values: Vec<f32>,
    shape: Shape,
}

impl WeightSource for OneWeight {
    fn name(&self) -> &str {
        "a case's weight"
    }

    fn tensors(&self) -> Vec<String> {
        vec!["weight".to_string()]
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        (tensor == "weight").then_some(self.shape)
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        if tensor != "weight" || out.len() != self.values.len() {
            return Err(Error::shape(tensor, self.shape, out.len()));
        }
        out.copy_from_slice(&self.values);
        Ok(())
    }
}

/// The buffers that the case's kernel writes on a device, as `f32` whatever their type.
///
/// # Errors
/// Where the device does not run it.
pub fn run_on(device: &Device, case: &Case) -> Result<Vec<Vec<f32>>> {
    let mut g = Graph::new();
    let mut weight = OneWeight { values: Vec::new(), shape: Shape::from([0, 0]) };
    let mut reads = Vec::new();
    let bindings: Vec<_> = case.kernel.parameters().bindings().into_iter().filter(|binding| !binding.written).collect();
    for binding in &bindings {
        reads.push(match (binding.name, binding.dtype) {
            ("weight", _) => {
                let [depth, columns] = [binding.shape[0], binding.shape[1]];
                let values = case.floats("weight");
                weight.values = (0..depth * columns).map(|i| values[i % depth * columns + i / depth]).collect();
                weight.shape = Shape::from([columns, depth]);
                g.weight(Recipe::matrix("weight".to_string(), depth, columns))
            }
            (name, DType::F32) => g.input(name, binding.shape),
            (name, DType::U32) => g.input_u32(name, binding.shape),
        });
    }
    let written = g.op("case", case.kernel.clone(), &reads)?;
    for (index, id) in written.iter().enumerate() {
        g.output(&index.to_string(), *id);
    }
    let program = Arc::new(g.finish()?);
    let mut executor = device.load(program.clone(), &weight)?;
    for binding in bindings.iter().filter(|binding| binding.name != "weight") {
        match binding.dtype {
            DType::F32 => executor.write(binding.name, case.floats(binding.name))?,
            DType::U32 => executor.write_u32(binding.name, case.words(binding.name))?,
        }
    }
    executor.run(program.body())?;
    (0..written.len()).map(|index| executor.read(&index.to_string())).collect()
}
