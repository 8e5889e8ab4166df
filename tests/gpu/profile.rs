//! Tests times of ops by the device's own clock.

use std::sync::Arc;

use percept::device::Executor;
use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept::diffusion::{Batch, NoiseFrom, SamplingLoop};
use percept::kernels::MaxPool;
use percept::program::{Graph, Program};
use percept::weights::Synthetic;
use percept::wgpu;
use percept::{Device, Method, Rcdm};
use percept_tests::left_out;

use super::first_adapter;

/// Builds a chain of poolings with windows of one pixel, whose output equals the input.
fn chain(length: usize) -> Arc<Program> {
    let mut g = Graph::new();
    let mut x = g.input("x", [1, 2, 3, 5]);
    for index in 0..length {
        let pool = MaxPool { batch: 1, height: 2, width: 3, channels: 5, kernel: [1, 1], stride: 1, padding: 0 };
        x = g.op1(&index.to_string(), pool, &[x]).expect("an op");
    }
    g.output("x", x);
    Arc::new(g.finish().expect("a program"))
}

/// Opens the first adapter, if it has a clock.
fn with_clock() -> Option<Gpu> {
    let gpu = Gpu::open(&first_adapter()?).expect("a device");
    let has_clock = gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY);
    if !has_clock {
        left_out(&gpu.name(), "times of ops", "it has no TIMESTAMP_QUERY");
    }
    has_clock.then_some(gpu)
}

fn load(gpu: &Gpu, program: &Arc<Program>) -> GpuExecutor {
    GpuExecutor::new(gpu, program.clone(), &Synthetic::new(Default::default())).expect("an executor")
}

#[test]
fn as_many_times_as_ops_and_the_results_of_a_run() {
    let Some(gpu) = with_clock() else { return };
    let x: Vec<f32> = (0..30).map(|i| i as f32 - 7.0).collect();
    // An op takes two of the queries of a set, so the last case is one op more than a set holds.
    for length in [1, 2, 2048, 2049] {
        let program = chain(length);
        let mut executor = load(&gpu, &program);
        executor.write("x", &x).expect("an input");
        let times = executor.time_ops(program.body()).expect("a run").expect("a clock");
        assert_eq!(times.len(), length);
        // An op takes less than a second, even on software adapters. Wrong units would show.
        assert!(times.iter().sum::<u64>() > 0 && times.iter().all(|&time| time < 1_000_000_000), "{times:?}");
        assert_eq!(executor.read("x").expect("an output"), x);
        assert_eq!(executor.submits(), length.div_ceil(2048));
    }
}

#[test]
fn without_the_feature_there_is_no_time_and_nothing_runs() {
    let Some(adapter): Option<Adapter> = first_adapter() else { return };
    let gpu = Gpu::open_with(&adapter, wgpu::Features::empty(), wgpu::Limits::default()).expect("a device");
    let mut executor = load(&gpu, &chain(3));
    assert_eq!(executor.time_ops(0..3), Ok(None));
    assert_eq!(executor.submits(), 0);
}

#[test]
fn a_timed_step_hands_on_what_a_step_does() {
    let Some(gpu) = with_clock() else { return };
    let decoder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/assets/decoder_trunk.safetensors");
    let rcdm = Rcdm::open(decoder, &Device::cpu().expect("a CPU")).expect("a decoder");
    let method = Method::ddpm(2);
    let sampling = SamplingLoop::new(rcdm.model(), rcdm.config(), &method, 1, NoiseFrom::Seed).expect("a program");
    let feat = vec![0.5; rcdm.config().ssl_dim];
    let batch = Batch { feat: &feat, seed: 3, ..Batch::default() };
    let program = sampling.program();
    let mut executor = GpuExecutor::new(&gpu, program.clone(), rcdm.model()).expect("an executor");
    let run = sampling.run(&mut executor, &batch, &mut |_, _| Ok(std::ops::ControlFlow::Continue(())));
    let run = run.expect("a run");

    // The tables and the representation are still there; the state is reset to the beginning.
    executor.write_u32("state", &percept::diffusion::noise::state(0, 0, 3)).expect("an input");
    for ops in [program.prologue(), program.body(), program.body()] {
        let times = executor.time_ops(ops.clone()).expect("a run").expect("a clock");
        assert_eq!(times.len(), ops.len());
    }
    assert_eq!(executor.read("x").expect("an output"), run);
}
