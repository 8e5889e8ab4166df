//! Tests of jobs with a device and a clock that the tests control.

mod budget;
mod device;
mod kept;
mod progress;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use device::FakeDevice;
use image::RgbImage;

use super::{Job, Status, clock};
use crate::device::Device;
use crate::diffusion::{Method, NoiseFrom, SamplingLoop};
use crate::sampling::decoder::{Decoder, Loaded};
use crate::sampling::options::SampleOptions;
use crate::sampling::pace::Pace;
use crate::weights::OpenModel;

/// Opens the demo's decoder. The tests use only its program.
fn decoder() -> Arc<Decoder> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets/decoder_trunk.safetensors");
    Decoder::new(OpenModel::open(path).expect("a model"), "unet", &Device::reference()).expect("a decoder")
}

/// Returns the options of a run of three images with three steps each, in two batches of two. The fourth image is
/// surplus.
fn options() -> SampleOptions {
    SampleOptions { samples: 3, method: Method::ddpm(3), seed: 9, batch: Some(2), ..SampleOptions::default() }
}

/// Loads the program of [`options`] onto a new device, for the decoder's next job.
fn load(decoder: &Decoder, is_host: bool, time_of_op: impl Fn(usize) -> Duration) -> FakeDevice {
    let (method, batch) = (options().method, 2);
    let sampling =
        SamplingLoop::new(&decoder.model, &decoder.config, &method, batch, NoiseFrom::Seed).expect("a program");
    let program = sampling.program();
    let device = FakeDevice::new(program.clone(), (0..program.ops().len()).map(time_of_op).collect(), is_host);
    decoder.put_back(Loaded {
        method,
        batch,
        sampling,
        executor: Box::new(device.executor()),
        pace: Pace::new(&program),
        #[cfg(feature = "gpu")]
        pictures: None,
    });
    device
}

fn start(decoder: &Arc<Decoder>, options: &SampleOptions) -> Job {
    Job::start(decoder, vec![vec![0.5; decoder.config.ssl_dim]], options).expect("a job")
}

fn images(job: Job) -> Vec<RgbImage> {
    job.finish().expect("images").concat()
}

/// Returns times that differ between ops, 40 to 130 microseconds.
fn uneven(op: usize) -> Duration {
    Duration::from_micros(40 + 30 * (op as u64 * 7 % 4))
}

/// Calls a job until it is over.
#[track_caller]
fn until_over(job: &mut Job, mut call: impl FnMut(&mut Job)) {
    // Far more calls than there are ops.
    for _ in 0..50_000 {
        if job.is_over() {
            return;
        }
        call(job);
    }
    panic!("a hang: {:?}", job.progress());
}

/// Runs a job op by op, with a pause after each that is long enough for the op to end, so that the next job knows how
/// long each op takes.
#[track_caller]
fn learn_pace(decoder: &Arc<Decoder>, pause: Duration) {
    let mut job = start(decoder, &options());
    until_over(&mut job, |job| {
        job.advance(Duration::ZERO).expect("an op");
        clock::advance(pause);
    });
    images(job);
}
