//! Tests percept on a host's device and queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use percept::Job;
use percept::device::gpu::{Gpu, GpuExecutor, required_features};
use percept::kernels::Concat;
use percept::{Error, Precision, wgpu};
use percept_tests::{Case, run_guarded};

use super::failures::{concatenation, no_weights};

/// Creates a device as a host would, on the first adapter. Returns `None` if there is no adapter and none is
/// required.
fn host() -> Option<(wgpu::Device, wgpu::Queue)> {
    host_of(&wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()))
}

fn host_of(instance: &wgpu::Instance) -> Option<(wgpu::Device, wgpu::Queue)> {
    host_with(instance, wgpu::Features::all())
}

/// Creates a host's device with the given features, as far as percept uses them.
fn host_with(instance: &wgpu::Instance, features: wgpu::Features) -> Option<(wgpu::Device, wgpu::Queue)> {
    let name = super::first_adapter()?.name();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let is_first = |adapter: &&wgpu::Adapter| name.ends_with(&format!(":{}", adapter.get_info().name));
    let adapter = adapters.iter().find(is_first).expect("an adapter, as percept finds one");
    let required_features = required_features(adapter) & features;
    let descriptor = wgpu::DeviceDescriptor { required_features, ..wgpu::DeviceDescriptor::default() };
    Some(pollster::block_on(adapter.request_device(&descriptor)).expect("a device"))
}

fn case() -> Case {
    Case::random(Concat { batch: 2, height: 3, width: 5, channels: [3, 4] }, 1)
}

#[test]
fn a_hosts_device_runs_programs() {
    let Some((device, queue)) = host() else { return };
    let gpu = Gpu::from_wgpu(&device, &queue);
    assert_eq!(run_guarded(&gpu, &case(), Precision::F32).expect("a run"), case().twin_outputs());
}

#[test]
fn a_hosts_handlers_stay_and_hear_only_of_the_hosts_errors() {
    let Some((device, queue)) = host() else { return };
    let errors = Arc::new(AtomicUsize::new(0));
    let heard = errors.clone();
    device.on_uncaptured_error(Arc::new(move |_| {
        heard.fetch_add(1, Ordering::Relaxed);
    }));
    let lost = Arc::new(AtomicUsize::new(0));
    let heard = lost.clone();
    device.set_device_lost_callback(move |_, _| {
        heard.fetch_add(1, Ordering::Relaxed);
    });

    let gpu = Gpu::from_wgpu(&device, &queue);
    run_guarded(&gpu, &case(), Precision::F32).expect("a run");
    // The host does not see percept's own errors, such as a buffer that is too large.
    assert!(matches!(GpuExecutor::new(&gpu, concatenation(1, 40_000_000), &no_weights()), Err(Error::OutOfMemory(_))));
    assert_eq!(errors.load(Ordering::Relaxed), 0);

    // The host still sees its own errors.
    let size = device.limits().max_buffer_size + 4;
    let usage = wgpu::BufferUsages::STORAGE;
    let _ = device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    assert_eq!(errors.load(Ordering::Relaxed), 1);

    device.destroy();
    assert!(run_guarded(&gpu, &case(), Precision::F32).is_err());
    let _ = device.poll(wgpu::PollType::Poll);
    assert_eq!(lost.load(Ordering::Relaxed), 1);
}

/// Returns wgpu's own counts of its resources.
fn books(instance: &wgpu::Instance) -> [(&'static str, usize); 6] {
    let hub = instance.generate_report().expect("a report").hub;
    [
        ("buffers", hub.buffers),
        ("bind groups", hub.bind_groups),
        ("pipelines", hub.compute_pipelines),
        ("shaders", hub.shader_modules),
        ("query sets", hub.query_sets),
        ("textures", hub.textures),
    ]
    .map(|(name, report)| (name, report.num_allocated))
}

#[test]
fn jobs_that_are_cancelled_at_any_step_leave_nothing_and_all_is_freed_on_drop() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let Some((device, queue)) = host_of(&instance) else { return };
    let before = books(&instance);
    let rcdm = super::jobs::rcdm(&Gpu::from_wgpu(&device, &queue));
    // Only weights and pipelines stay, for the next job.
    drop(super::jobs::start(&rcdm, 1));
    let loaded = books(&instance);
    assert!(loaded[0].1 > before[0].1 && loaded[2].1 > before[2].1, "{loaded:?}");
    let total = super::jobs::start(&rcdm, 1).progress().total;
    for steps in 0..=total {
        let mut job = super::jobs::start(&rcdm, 1);
        while job.progress().done < steps {
            job.step().expect("a step");
        }
        job.advance(Duration::from_millis(8)).expect("a slice of the next step");
        job.token().cancel();
        drop(job);
        assert_eq!(books(&instance), loaded, "cancelled after {steps} steps");
    }
    // A run to its end leaves its program to the next one.
    super::jobs::start(&rcdm, 1).finish().expect("images");
    drop(rcdm);
    assert_eq!(books(&instance), before);
}

/// A call of a job.
type Call = fn(&mut Job, &Gpu) -> percept::Result<()>;

/// Calls that do not wait for the device come first.
const CALLS: [(&str, Call); 5] = [
    ("state", |job, _| job.state().map(drop)),
    ("advance", |job, _| job.advance(Duration::ZERO).map(drop)),
    ("record", |job, gpu| {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let recorded = job.record(&mut encoder, Duration::ZERO).map(drop);
        gpu.queue().submit([encoder.finish()]);
        recorded
    }),
    ("preview", |job, _| job.preview().map(drop)),
    ("step", |job, _| job.step().map(drop)),
];

#[test]
fn a_hosts_device_lost_between_two_batches_is_lost_to_every_later_call() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let without_clock = wgpu::Features::all().difference(wgpu::Features::TIMESTAMP_QUERY);
    for features in [wgpu::Features::all(), without_clock] {
        let Some((device, queue)) = host_with(&instance, features) else { return };
        let has_clock = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let gpu = Gpu::from_wgpu(&device, &queue);
        let rcdm = super::jobs::rcdm(&gpu);
        let mut job = super::jobs::start(&rcdm, 1);
        job.keep_states(1);
        // A batch of two steps.
        for _ in 0..2 {
            job.step().expect("a step");
        }
        if has_clock {
            // An op of the next batch, which has ended. The first call to fail is the reading of its
            // timestamps.
            job.advance(Duration::ZERO).expect("an op");
            device.poll(wgpu::PollType::wait_indefinitely()).expect("a device that answers");
        }
        device.destroy();
        let is_lost = |result: percept::Result<()>, at: &str| {
            assert!(matches!(result, Err(Error::DeviceLost(_))), "{at}, clock: {has_clock}: {result:?}");
        };
        // Without a clock, the loss is noticed only when something is read.
        is_lost(if has_clock { job.advance(Duration::ZERO) } else { job.step() }.map(drop), "the first call");
        for (name, call) in CALLS.into_iter().chain(CALLS) {
            is_lost(call(&mut job, &gpu), name);
        }
        assert_eq!(job.progress().done, 2);
        let kept = job.kept().expect("a state").to_vec();
        is_lost(job.finish().map(drop), "finish");
        is_lost(rcdm.resume(&kept).map(drop), "resume");
    }
}
