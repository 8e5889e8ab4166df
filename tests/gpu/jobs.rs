//! Jobs on a GPU: slices, several at once on one device, a device that is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use image::RgbImage;
use percept::gpu::{Adapter, Gpu};
use percept::pipeline::{Device, Job, Method, Rcdm, SampleOptions, Status};
use percept::{Error, wgpu};
use percept_tests::SplitMix;

use super::{every_gpu, first_adapter};

/// Longer than any call of a job may take on the slowest software adapter, most of it compilation.
const PATIENCE: Duration = Duration::from_secs(300);

fn rcdm(gpu: &Gpu) -> Rcdm {
    let decoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets/decoder_trunk.safetensors");
    Rcdm::open(&decoder, &Device::Gpu(gpu.clone())).expect("a decoder")
}

/// 2 batches of one sample, 2 steps each.
fn start(rcdm: &Rcdm, seed: u64) -> Job {
    let options =
        SampleOptions { samples: 2, method: Method::ddpm(2), seed, batch: Some(1), ..SampleOptions::default() };
    let h = SplitMix::new(5).floats(rcdm.config().ssl_dim);
    rcdm.start(&[&h], &options).expect("a job")
}

fn images(job: Job) -> Vec<RgbImage> {
    job.finish().expect("images").concat()
}

/// Advances like a window: a slice, and then a while for the window's own work.
fn advance(job: &mut Job, budget: Duration) -> percept::Result<Status> {
    let status = job.advance(budget)?.status;
    std::thread::sleep(Duration::from_millis(1));
    Ok(status)
}

#[test]
fn slices_give_the_same_images_as_a_run_that_waits() {
    for gpu in every_gpu() {
        let rcdm = rcdm(&gpu);
        let want = images(start(&rcdm, 1));
        let mut job = start(&rcdm, 1);
        let began = Instant::now();
        while advance(&mut job, Duration::from_millis(8)).expect("a slice") == Status::Running {
            assert!(began.elapsed() < PATIENCE, "{}: {:?}", gpu.name(), job.progress());
        }
        assert!(job.images() == want && images(job) == want, "{}", gpu.name());
    }
}

#[test]
fn two_jobs_at_once_on_a_hosts_device_do_not_disturb_each_other() {
    let Some(adapter) = first_adapter() else { return };
    // A host that asks for nothing: no clock either.
    let own = Gpu::open_with(&adapter, wgpu::Features::empty(), wgpu::Limits::default()).expect("a device");
    let gpu = Gpu::from_wgpu(own.device(), own.queue());
    let rcdm = rcdm(&gpu);
    let want = [1, 2].map(|seed| images(start(&rcdm, seed)));
    let mut jobs = [1, 2].map(|seed| start(&rcdm, seed));
    let began = Instant::now();
    while jobs.iter().any(|job| job.progress().status == Status::Running) {
        for job in &mut jobs {
            advance(job, Duration::from_millis(8)).expect("a slice");
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", jobs.map(|job| job.progress()));
    }
    let preview = jobs[0].x_0().expect("x_0");
    assert_eq!(preview.len(), 32 * 32 * 3);
    assert!(jobs.map(images) == want);
}

#[test]
fn a_job_goes_on_after_its_device_was_lost_at_any_time() {
    let Some(adapter) = first_adapter() else { return };
    let open = |adapter: &Adapter| Gpu::open(adapter).expect("a device");
    let want = images(start(&rcdm(&open(&adapter)), 1));
    let mut lost_at = Vec::new();
    // After so many slices: at the first op, in the midst of steps, between batches, until the run is over before.
    for slices in 0.. {
        let gpu = open(&adapter);
        let rcdm = rcdm(&gpu);
        let mut job = start(&rcdm, 1);
        job.keep_states(1);
        let mut before = 0;
        while before < slices && job.progress().status == Status::Running {
            // As large as there may be: some 20 of them in all.
            job.advance(Duration::from_millis(100)).expect("a slice");
            std::thread::sleep(Duration::from_millis(20));
            before += 1;
        }
        if job.progress().status == Status::Done {
            break;
        }
        gpu.device().destroy();
        let began = Instant::now();
        let error = loop {
            match advance(&mut job, Duration::from_millis(100)) {
                Err(error) => break error,
                Ok(Status::Running) => assert!(began.elapsed() < PATIENCE, "a hang after {slices} slices"),
                Ok(status) => panic!("{status:?} on a device that was lost after {slices} slices"),
            }
        };
        assert!(matches!(error, Error::DeviceLost(_)), "after {slices} slices: {error}");
        assert!(job.step().is_err() && job.state().is_err(), "after {slices} slices");

        lost_at.push(job.progress().done);
        let again = self::rcdm(&open(&adapter));
        let resumed = match job.kept() {
            Some(state) => again.resume(state).expect("a job"),
            None => start(&again, 1),
        };
        assert_eq!(resumed.progress().done, job.progress().done);
        assert!(images(resumed) == want, "after {slices} slices");
    }
    println!("lost after so many steps: {lost_at:?}");
    assert!(lost_at.len() >= 4);
}
