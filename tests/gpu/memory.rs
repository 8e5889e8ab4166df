//! What a program is said to take on a GPU, and what wgpu's own books say that it takes.

use percept::gpu::Gpu;
use percept::pipeline::Method;
use percept::wgpu;
use percept_tests::{left_out, ran};

use super::every_gpu;
use super::jobs::{rcdm, start};

/// Bytes that wgpu has given out on a device; none where its backend keeps no books (GL).
fn given_out(gpu: &Gpu) -> Option<usize> {
    // Only what the device has no more work with is given back.
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
        // All that a job reads, it has then read once.
        job.step().expect("a step");
        job.preview().expect("a preview");
        job.step().expect("a step");
        if let Some((before, after)) = before.zip(given_out(&gpu)) {
            let (held, said) = (after - before, estimate.total());
            // What the preview was read through is gone again; timestamps come to a few hundred bytes.
            let image = 4 * job.x_0().expect("x_0").len();
            assert!(held.abs_diff(said) <= image, "{}: {said} bytes said, {held} given out", gpu.name());
            ran(&gpu.name(), format!("an estimate of memory: {said} bytes, and {held} given out by wgpu"));
        } else {
            left_out(&gpu.name(), "the comparison of an estimate with wgpu's books", "its backend keeps none");
        }
    }
}
