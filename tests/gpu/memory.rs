//! Compares the estimate of a program's memory on a GPU with wgpu's own figures.

use percept::Method;
use percept::device::gpu::Gpu;
use percept::wgpu;
use percept_tests::{left_out, ran};

use super::every_gpu;
use super::jobs::{rcdm, start};

/// Returns the bytes that wgpu has allocated on a device, or `None` if its backend does not count them (GL).
fn given_out(gpu: &Gpu) -> Option<usize> {
    // wgpu frees memory only after the device has finished all work with it.
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("an answer");
    gpu.queue().submit([]);
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("an answer");
    Some(gpu.device().generate_allocator_report()?.total_allocated_bytes as usize)
}

#[test]
fn an_estimate_is_what_executors_hold() {
    for gpu in every_gpu() {
        let rcdm = rcdm(&gpu);
        let before = given_out(&gpu);
        let estimate = rcdm.estimate(&Method::ddpm(2), 1).expect("an estimate");
        let mut job = start(&rcdm, 1);
        assert_eq!(job.memory(), estimate, "{}", gpu.name());
        // After this, the job has read everything once that it ever reads.
        job.step().expect("a step");
        job.preview().expect("a preview");
        job.step().expect("a step");
        if let Some((before, after)) = before.zip(given_out(&gpu)) {
            let (held, said) = (after - before, estimate.total());
            // The buffer through which the preview was read is freed; timestamps take a few hundred bytes.
            let image = 4 * job.x_0().expect("x_0").len();
            assert!(held.abs_diff(said) <= image, "{}: {said} bytes said, {held} given out", gpu.name());
            ran(&gpu.name(), format!("an estimate of memory: {said} bytes, and {held} given out by wgpu"));
        } else {
            left_out(&gpu.name(), "the comparison of an estimate with wgpu's books", "its backend keeps none");
        }
    }
}
