//! Tests that errors of a GPU have a type, and that the device remains usable unless it is lost.

use std::sync::Arc;

use percept::Device;
use percept::device::Executor;
use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept::kernels::Concat;
use percept::program::{Graph, Program};
use percept::weights::Synthetic;
use percept::{Error, Shape, wgpu};

use super::first_adapter;

/// Builds a program that concatenates two values of `batch` samples and `channels` channels.
pub fn concatenation(batch: usize, channels: usize) -> Arc<Program> {
    let mut g = Graph::new();
    let shape = Shape::from([batch, 1, 1, channels]);
    let (a, b) = (g.input("a", shape), g.input("b", shape));
    let concat = Concat { batch, height: 1, width: 1, channels: [channels; 2] };
    let both = g.op1("both", concat, &[a, b]).expect("a concatenation");
    g.output("both", both);
    Arc::new(g.finish().expect("a program"))
}

/// Returns the weights of a program that has none.
pub fn no_weights() -> Synthetic {
    Synthetic::new(Default::default())
}

#[test]
fn an_adapter_that_is_not_there_is_named_with_those_that_are() {
    let Err(Error::Device(mismatch)) = Adapter::named("vulkan:no such card") else {
        panic!("want an error of the device");
    };
    assert_eq!(mismatch.got, "vulkan:no such card");
    for adapter in percept_tests::adapters() {
        assert!(mismatch.expected.contains(&adapter.name()), "{mismatch}");
    }
    assert!(Device::named("no such card").is_err());
}

#[test]
fn an_adapter_is_found_by_parts_of_its_name_in_any_case() {
    for adapter in percept_tests::adapters() {
        let name = adapter.name();
        assert_eq!(Adapter::named(&name.to_uppercase()).expect("by its name").name(), name);
        let (backend, _) = name.split_once(':').expect("a backend");
        assert!(Adapter::named(&format!("{backend}:")).expect("by its backend").name().starts_with(backend));
    }
}

#[test]
fn what_is_larger_than_a_limit_is_out_of_memory() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = Gpu::open_with(&adapter, wgpu::Features::empty(), wgpu::Limits::default()).expect("a device");
    // A sample of 320 MB with a binding limit of 128 MiB, and three of 120 MB with a buffer limit of 256 MiB.
    for (program, limit) in [(concatenation(1, 40_000_000), "134217728"), (concatenation(3, 15_000_000), "268435456")] {
        let Err(Error::OutOfMemory(mismatch)) = GpuExecutor::new(&gpu, program, &no_weights()) else {
            panic!("want an error of memory");
        };
        assert!(mismatch.expected.contains(limit), "{mismatch}");
    }
    // The device still works.
    assert!(GpuExecutor::new(&gpu, concatenation(1, 4), &no_weights()).is_ok());
}

#[test]
fn a_shader_that_the_device_refuses_is_named() {
    let Some(adapter) = first_adapter() else { return };
    // Fewer invocations than a workgroup has.
    let limits = wgpu::Limits {
        max_compute_invocations_per_workgroup: 16,
        max_compute_workgroup_size_x: 16,
        ..wgpu::Limits::default()
    };
    let gpu = Gpu::open_with(&adapter, wgpu::Features::empty(), limits).expect("a device");
    for _ in 0..2 {
        let Err(Error::Shader(mismatch)) = GpuExecutor::new(&gpu, concatenation(1, 4), &no_weights()) else {
            panic!("want an error of the shader");
        };
        assert_eq!(mismatch.at, "concat");
    }
}

#[test]
fn a_lost_device_says_so_and_another_can_be_opened() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    let mut executor = GpuExecutor::new(&gpu, concatenation(1, 4), &no_weights()).expect("a program");
    executor.write("a", &[1.0; 4]).expect("an input");
    executor.write("b", &[2.0; 4]).expect("an input");
    executor.run(0..1).expect("a run");
    assert_eq!(executor.read("both").expect("an output"), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);

    gpu.device().destroy();
    let is_lost = |result: percept::Result<()>| assert!(matches!(result, Err(Error::DeviceLost(_))), "{result:?}");
    is_lost(executor.run(0..1).and_then(|()| executor.read("both").map(drop)));
    // Every later call fails, too.
    is_lost(executor.write("a", &[1.0; 4]));
    is_lost(executor.run(0..1));
    is_lost(executor.read("both").map(drop));
    is_lost(GpuExecutor::new(&gpu, concatenation(1, 4), &no_weights()).map(drop));

    let again = Gpu::open(&adapter).expect("a device");
    let mut executor = GpuExecutor::new(&again, concatenation(1, 4), &no_weights()).expect("a program");
    executor.write("a", &[3.0; 4]).expect("an input");
    executor.write("b", &[4.0; 4]).expect("an input");
    executor.run(0..1).expect("a run");
    assert_eq!(executor.read("both").expect("an output")[3..5], [3.0, 4.0]);
}
