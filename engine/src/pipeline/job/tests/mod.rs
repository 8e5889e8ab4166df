//! Jobs on a device and by a clock that the tests control.

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
use crate::pipeline::decoder::{Decoder, Loaded, SampleOptions};
use crate::pipeline::device::Device;
use crate::pipeline::pace::Pace;
use crate::pipeline::sampling::{Method, NoiseFrom, Sampling};

/// The demo's decoder, of which only the program counts.
fn decoder() -> Arc<Decoder> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets/decoder_trunk.safetensors");
    Decoder::open(&path, "unet", &Device::reference()).expect("a decoder")
}

/// Two batches of two images, the last of which nobody asked for; three steps each.
fn options() -> SampleOptions {
    SampleOptions { samples: 3, method: Method::ddpm(3), seed: 9, batch: Some(2), ..SampleOptions::default() }
}

/// Loads the program of [`options`] onto a new device, for the decoder's next job.
fn load(decoder: &Decoder, is_host: bool, time_of_op: impl Fn(usize) -> Duration) -> FakeDevice {
    let (method, batch) = (options().method, 2);
    let sampling = Sampling::new(&decoder.model, &decoder.config, &method, batch, NoiseFrom::Seed).expect("a program");
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
    decoder.start(vec![vec![0.5; decoder.config.ssl_dim]], options).expect("a job")
}

fn images(job: Job) -> Vec<RgbImage> {
    job.finish().expect("images").concat()
}

/// Times of ops that differ, 40 to 130 microseconds.
fn uneven(op: usize) -> Duration {
    Duration::from_micros(40 + 30 * (op as u64 * 7 % 4))
}

/// Calls a job until it is over.
#[track_caller]
fn until_over(job: &mut Job, mut call: impl FnMut(&mut Job)) {
    // Many times as many calls as ops.
    for _ in 0..50_000 {
        if job.is_over() {
            return;
        }
        call(job);
    }
    panic!("a hang: {:?}", job.progress());
}

/// Runs a job op by op, each of which ends within `pause`, so that the next one knows what each op takes.
#[track_caller]
fn learn_pace(decoder: &Arc<Decoder>, pause: Duration) {
    let mut job = start(decoder, &options());
    until_over(&mut job, |job| {
        job.advance(Duration::ZERO).expect("an op");
        clock::advance(pause);
    });
    images(job);
}
