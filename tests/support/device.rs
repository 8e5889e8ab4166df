//! Running a case on a device, as a program of one op.

use std::fmt::Display;
use std::sync::Arc;

use percept::gpu::dispatch::Profile;
use percept::gpu::{Adapter, Gpu, GpuExecutor};
use percept::kernels::{Binding, ChannelStats};
use percept::pipeline::Device;
use percept::program::{Executor, Graph, Program};
use percept::weights::{Recipe, WeightSource};
use percept::{DType, Error, Precision, Result, Shape};

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
    let (program, weight) = one_op(case, device.precision())?;
    run_by(device.load(program, &weight)?.as_mut(), case)
}

/// The buffers of a case's kernel on a device that stores values in `precision`.
///
/// # Panics
/// Where the case is no program.
pub fn bindings(case: &Case, precision: Precision) -> Vec<Binding> {
    let (program, _) = one_op(case, precision).expect("a program");
    program.bindings(&program.ops()[0])
}

/// The names of the buffers of a case's kernel that are stored in half precision where its device stores values so.
///
/// # Panics
/// As [`bindings`].
pub fn halves(case: &Case) -> Vec<&'static str> {
    let bindings = bindings(case, Precision::F16);
    bindings.iter().filter(|binding| binding.dtype == DType::F16).map(|binding| binding.name).collect()
}

/// The same on a GPU, its values stored in `precision`, with poisoned buffers and a guard zone after each.
///
/// # Errors
/// Where the device does not run it, or it wrote into a guard zone.
pub fn run_guarded(gpu: &Gpu, case: &Case, precision: Precision) -> Result<Vec<Vec<f32>>> {
    let (program, weight) = one_op(case, precision)?;
    let mut executor = GpuExecutor::guarded(gpu, program, &weight)?;
    let outputs = run_by(&mut executor, case)?;
    match executor.broken_guard()? {
        Some(guard) => Err(Error::shader(case.name(), "nothing written past the end of a buffer", guard)),
        None => Ok(outputs),
    }
}

/// Every adapter of this machine, hardware first, then lavapipe, which takes the same way through wgpu and the Vulkan
/// loader and has all that percept makes use of.
///
/// # Panics
/// Where there is none and `PERCEPT_REQUIRE_GPU=1` requires one.
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

/// The profile of a graphics card, for [`Gpu::open_as`].
pub fn as_hardware(own: Profile) -> Profile {
    Profile { software: false, subgroups: false, ..own }
}

/// The profile of a device whose shaders know no values of half precision, for [`Gpu::open_as`].
pub fn as_packed(own: Profile) -> Profile {
    Profile { native_f16: false, ..own }
}

/// Says what an adapter has run: a line of the summary of `.ci/run`.
pub fn ran(adapter: &str, what: impl Display) {
    println!("ran on {adapter}: {what}");
}

/// Says what an adapter has not run that another one has, and why: a line of that summary, too.
pub fn left_out(adapter: &str, what: impl Display, why: &str) {
    println!("left out on {adapter}: {what}: {why}");
}

/// The program of the case's kernel alone, its values stored in `precision`.
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
        // What nothing reads is not stored in half precision.
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

/// What the program of the case's kernel writes.
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

/// An output, as `f32` whatever its type.
///
/// # Errors
/// As [`Executor::read`].
pub fn read_output(executor: &mut dyn Executor, output: &str) -> Result<Vec<f32>> {
    let program = executor.program();
    match program.value(program.output(output)?).dtype {
        DType::F32 | DType::F16 => executor.read(output),
        DType::U32 => Ok(executor.read_u32(output)?.into_iter().map(f32::from_bits).collect()),
    }
}
