//! Runs a case on a device, as a program of one op.

use std::fmt::Display;
use std::sync::Arc;

use percept::Device;
use percept::device::Executor;
use percept::device::gpu::dispatch::Capabilities;
use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept::kernels::{Binding, ChannelStats};
use percept::program::{Graph, Program};
use percept::weights::{Recipe, WeightSource};
use percept::{DType, Error, Precision, Result, Shape};

use crate::Case;

/// The one weight of a case, under the name of its binding.
struct OneWeight {
    /// `[columns, depth]`, the layout of checkpoints.
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

/// Runs the case on a device and returns the buffers that its kernel writes, as `f32` whatever their type.
///
/// # Errors
/// Returns an error if the device cannot run it.
pub fn run_on(device: &Device, case: &Case) -> Result<Vec<Vec<f32>>> {
    let (program, weight) = one_op(case, device.precision())?;
    run_by(device.load(program, &weight)?.as_mut(), case)
}

/// Returns the buffers of a case's kernel on a device that stores values in `precision`.
///
/// # Panics
/// Panics if the case does not make a program.
pub fn bindings(case: &Case, precision: Precision) -> Vec<Binding> {
    let (program, _) = one_op(case, precision).expect("a program");
    program.bindings(&program.ops()[0])
}

/// Returns the names of the kernel's buffers that a device of half precision stores in half precision.
///
/// # Panics
/// See [`bindings`].
pub fn halves(case: &Case) -> Vec<&'static str> {
    let bindings = bindings(case, Precision::F16);
    bindings.iter().filter(|binding| binding.dtype == DType::F16).map(|binding| binding.name).collect()
}

/// Runs the case on a GPU that stores values in `precision`, with poisoned buffers and a guard zone after each.
/// Returns the buffers that the kernel writes.
///
/// # Errors
/// Returns an error if the device cannot run it, or if the kernel wrote into a guard zone.
pub fn run_guarded(gpu: &Gpu, case: &Case, precision: Precision) -> Result<Vec<Vec<f32>>> {
    let (program, weight) = one_op(case, precision)?;
    let mut executor = GpuExecutor::guarded(gpu, program, &weight)?;
    let outputs = run_by(&mut executor, case)?;
    match executor.broken_guard()? {
        Some(guard) => Err(Error::shader(case.name(), "nothing written past the end of a buffer", guard)),
        None => Ok(outputs),
    }
}

/// Returns every adapter of this machine: hardware first, then lavapipe, which is reached through the same
/// layers of wgpu and the Vulkan loader and supports every feature that percept uses.
///
/// # Panics
/// Panics if there is no adapter although `PERCEPT_REQUIRE_GPU=1` requires one.
pub fn adapters() -> Vec<Adapter> {
    let mut adapters = Adapter::all();
    adapters.sort_by_key(|adapter| (adapter.is_software(), !adapter.name().starts_with("vulkan:llvmpipe")));
    let required = std::env::var("PERCEPT_REQUIRE_GPU").is_ok_and(|value| value == "1");
    assert!(!required || !adapters.is_empty(), "PERCEPT_REQUIRE_GPU=1, and there is no adapter");
    if adapters.is_empty() {
        println!("no adapter: nothing is tested on a GPU");
    }
    adapters
}

/// Returns the capabilities of a device whose shaders have no half-precision type, for [`Gpu::open_as`].
pub fn as_packed(own: Capabilities) -> Capabilities {
    Capabilities { native_f16: false, ..own }
}

/// Prints what an adapter has run: a line of the summary of `.ci/run`.
pub fn ran(adapter: &str, what: impl Display) {
    println!("ran on {adapter}: {what}");
}

/// Prints what an adapter, unlike others, has not run, and why: also a line of that summary.
pub fn left_out(adapter: &str, what: impl Display, why: &str) {
    println!("left out on {adapter}: {what}: {why}");
}

/// Returns a program of the case's kernel alone, with values stored in `precision`, and its weight.
fn one_op(case: &Case, precision: Precision) -> Result<(Arc<Program>, OneWeight)> {
    let mut g = Graph::new();
    let mut weight = OneWeight { values: Vec::new(), shape: Shape::from([0, 0]) };
    let mut reads = Vec::new();
    for binding in case.kernel.parameters().bindings().iter().filter(|binding| !binding.written) {
        reads.push(match (binding.name, binding.dtype) {
            ("weight", _) => {
                let [depth, columns] = [binding.shape[0], binding.shape[1]];
                let values = case.floats("weight");
                weight.values = (0..depth * columns).map(|i| values[i % depth * columns + i / depth]).collect();
                weight.shape = Shape::from([columns, depth]);
                g.weight(Recipe::matrix("weight".to_string(), depth, columns))
            }
            (name, DType::U32) => g.input_u32(name, binding.shape),
            (name, DType::F32 | DType::F16) => g.input(name, binding.shape),
        });
    }
    let written: Vec<Binding> = case.kernel.parameters().bindings().into_iter().filter(|b| b.written).collect();
    for ((index, id), binding) in g.op("case", case.kernel.clone(), &reads)?.into_iter().enumerate().zip(written) {
        g.output(&index.to_string(), id);
        // A value that no op reads is not stored in half precision, so add a reader.
        let reader = match (precision, &*g.shape(id)) {
            (Precision::F16, &[batch, height, width, channels]) => Some([batch, height, width, channels]),
            (Precision::F16, &[batch, tokens, channels]) => Some([batch, tokens, 1, channels]),
            _ => None,
        };
        if let Some([batch, height, width, channels]) = reader.filter(|_| binding.half.is_some()) {
            let reader = ChannelStats { batch, height, width, channels, tile: height * width };
            let read = g.op1("reader", reader, &[id])?;
            g.output(&format!("reader of {index}"), read);
        }
    }
    Ok((Arc::new(g.finish()?.stored_in(precision)), weight))
}

/// Runs the program of the case's kernel and returns the buffers that it writes.
fn run_by(executor: &mut dyn Executor, case: &Case) -> Result<Vec<Vec<f32>>> {
    let bindings = case.kernel.parameters().bindings();
    for binding in bindings.iter().filter(|binding| !binding.written && binding.name != "weight") {
        match binding.dtype {
            DType::F32 | DType::F16 => executor.write(binding.name, case.floats(binding.name))?,
            DType::U32 => executor.write_u32(binding.name, case.words(binding.name))?,
        }
    }
    executor.run(executor.program().body())?;
    let written = bindings.iter().filter(|binding| binding.written).count();
    (0..written).map(|index| read_output(executor, &index.to_string())).collect()
}

/// Reads an output, as `f32` whatever its type.
///
/// # Errors
/// See [`Executor::read`].
pub fn read_output(executor: &mut dyn Executor, output: &str) -> Result<Vec<f32>> {
    let program = executor.program();
    match program.value(program.output(output)?).dtype {
        DType::F32 | DType::F16 => executor.read(output),
        DType::U32 => Ok(executor.read_u32(output)?.into_iter().map(f32::from_bits).collect()),
    }
}
