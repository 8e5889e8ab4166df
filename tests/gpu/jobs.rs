//! Tests jobs on a GPU: slices, several jobs at once on one device, a lost device.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use image::RgbImage;
use percept::device::gpu::{Adapter, Gpu, Place};
use percept::models::UnetConfig;
use percept::{Device, Job, Method, Rcdm, SampleOptions, Status};
use percept::{Error, wgpu};
use percept_tests::{SplitMix, ran, unet_weights, write_synthetic};
use serde_json::json;

use super::{every_gpu, first_adapter, hardware_or_first_gpu};

/// Longer than any call of a job may take on the slowest software adapter, which compiles most of that time.
const PATIENCE: Duration = Duration::from_secs(300);

/// The side of the decoder's images, in pixels.
const SIZE: u32 = 16;

/// The model file of a small decoder with attention and conditional batch norms, which software adapters run
/// quickly. It is written once, because the order of a file's metadata is random, and a job's state names its
/// model by the file's hash.
static DECODER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let config = json!({
        "image_size": SIZE, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2",
        "attention_resolutions": "8", "learn_sigma": true, "ssl_dim": 64, "conditioning": "cbn",
    })
    .to_string();
    let weights = unet_weights(&UnetConfig::from_json(&config).expect("a configuration")).expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decoder.safetensors");
    write_synthetic(&path, "unet", &config, &weights);
    fs::read(path).expect("a file")
});

/// Opens the decoder.
pub fn rcdm(gpu: &Gpu) -> Rcdm {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decoder.safetensors");
    fs::write(&path, &*DECODER).expect("a writable folder");
    Rcdm::open(&path, &Device::from(gpu.clone())).expect("a decoder")
}

/// Starts a job of 2 batches of one sample, with 2 steps each.
pub fn start(rcdm: &Rcdm, seed: u64) -> Job {
    let options =
        SampleOptions { samples: 2, method: Method::ddpm(2), seed, batch: Some(1), ..SampleOptions::default() };
    let h = SplitMix::new(5).floats(rcdm.config().ssl_dim);
    rcdm.start(&[&h], &options).expect("a job")
}

/// Returns true if an image has many values, unlike one that was clipped or never written.
fn is_varied(image: &RgbImage) -> bool {
    image.as_raw().iter().filter(|value| !matches!(value, 0 | 255)).collect::<BTreeSet<_>>().len() > 64
}

fn images(job: Job) -> Vec<RgbImage> {
    job.finish().expect("images").concat()
}

/// Advances like a windowed application: a slice, and then a while for the application's own work.
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
        assert!(want.iter().all(is_varied) && want[0] != want[1], "{}", gpu.name());
        let mut job = start(&rcdm, 1);
        let began = Instant::now();
        while advance(&mut job, Duration::from_millis(8)).expect("a slice") == Status::Running {
            assert!(began.elapsed() < PATIENCE, "{}: {:?}", gpu.name(), job.progress());
        }
        assert!(job.images() == want && images(job) == want, "{}", gpu.name());
        ran(&gpu.name(), "a job in slices");
    }
}

#[test]
fn two_jobs_at_once_on_a_hosts_device_do_not_disturb_each_other() {
    let Some(adapter) = first_adapter() else { return };
    // A host that requests no features, and therefore has no clock.
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
    assert_eq!(preview.len(), (SIZE * SIZE * 3) as usize);
    assert!(jobs.map(images) == want);
}

#[test]
fn a_job_goes_on_after_its_device_was_lost_at_any_time() {
    let Some(adapter) = first_adapter() else { return };
    let open = |adapter: &Adapter| Gpu::open(adapter).expect("a device");
    let want = images(start(&rcdm(&open(&adapter)), 1));
    let mut lost_at = Vec::new();
    // Lose the device after each number of slices: at the first op, within steps, between batches, until the
    // run ends first.
    for slices in 0.. {
        let own = open(&adapter);
        // Every other device is a host's. The host is notified of the loss, and percept only sees that no
        // results arrive.
        let gpu = if slices % 2 == 0 { own } else { Gpu::from_wgpu(own.device(), own.queue()) };
        let rcdm = rcdm(&gpu);
        let mut job = start(&rcdm, 1);
        job.keep_states(1);
        let mut before = 0;
        while before < slices && job.progress().status == Status::Running {
            // The largest slices, so that there are only some 20 of them.
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

/// Creates a command encoder of a host, without any commands.
fn encoder(gpu: &Gpu) -> wgpu::CommandEncoder {
    gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
}

#[test]
fn a_host_submits_what_a_job_records() {
    for gpu in hardware_or_first_gpu() {
        let rcdm = rcdm(&gpu);
        let want = images(start(&rcdm, 1));
        for budget in [Duration::from_millis(8), Duration::from_secs(5)] {
            let mut job = start(&rcdm, 1);
            let began = Instant::now();
            loop {
                let mut encoder = encoder(&gpu);
                let status = job.record(&mut encoder, budget).expect("a slice").status;
                gpu.queue().submit([encoder.finish()]);
                if status != Status::Running {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{}: {:?}", gpu.name(), job.progress());
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(images(job) == want, "{}, {budget:?}", gpu.name());
        }
        ran(&gpu.name(), "a job recorded into a host's encoders");
    }
}

#[test]
fn slices_recorded_and_submitted_by_the_job_mix() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    let rcdm = rcdm(&gpu);
    let want = images(start(&rcdm, 1));
    let mut job = start(&rcdm, 1);
    let record = |job: &mut Job, budget| {
        let mut encoder = encoder(&gpu);
        let progress = job.record(&mut encoder, budget).expect("a slice");
        gpu.queue().submit([encoder.finish()]);
        progress
    };
    // The host submits the prologue and a part of the step; the job submits the rest.
    for _ in 0..3 {
        record(&mut job, Duration::from_millis(20));
    }
    assert_eq!(job.step().expect("a step").done, 1);
    // Save a state in between. When it is resumed, x_t replaces the noise that the prologue draws in the host's
    // encoder.
    let state = job.state().expect("a state");
    let mut resumed = rcdm.resume(&state).expect("a job");
    drop(job);
    while record(&mut resumed, Duration::from_millis(100)).status == Status::Running {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(images(resumed) == want);
}

#[test]
fn what_was_recorded_and_never_submitted_is_an_error_and_no_hang() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    let rcdm = rcdm(&gpu);
    let want = images(start(&rcdm, 1));
    // The encoder is dropped, or still exists when the job is called again.
    for is_dropped in [true, false] {
        let mut job = start(&rcdm, 1);
        job.keep_states(1);
        job.step().expect("a step");
        // Nothing is in flight, so that something is recorded.
        gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device that answers");
        let mut encoder = encoder(&gpu);
        job.record(&mut encoder, Duration::MAX).expect("a slice");
        let mut kept = Some(encoder);
        if is_dropped {
            kept = None;
        }
        let error = job.step().expect_err("nothing was submitted");
        assert!(matches!(&error, Error::DeviceLost(m) if m.got.contains("never submitted")), "{error}");
        drop(kept);
        let state = job.kept().expect("the state after a step").to_vec();
        drop(job);
        assert!(images(rcdm.resume(&state).expect("a job")) == want);
    }
}

/// Reads the pixels of a texture whose width is a multiple of 64.
fn read(gpu: &Gpu, texture: &wgpu::Texture) -> RgbImage {
    let [width, height] = [texture.width(), texture.height()];
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::from(4 * width * height),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * width), rows_per_image: None };
    let mut encoder = encoder(gpu);
    let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
    gpu.queue().submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("a buffer to read"));
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device that answers");
    let bytes = buffer.get_mapped_range(..).expect("a mapped buffer").to_vec();
    RgbImage::from_fn(width, height, |x, y| {
        let at = 4 * (y * width + x) as usize;
        image::Rgb([bytes[at], bytes[at + 1], bytes[at + 2]])
    })
}

/// The size of a host's texture, in pixels.
const WIDTH: u32 = 128;
const HEIGHT: u32 = 40;

fn texture(gpu: &Gpu, format: wgpu::TextureFormat, usage: wgpu::TextureUsages) -> wgpu::Texture {
    gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: WIDTH, height: HEIGHT, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
    })
}

#[test]
fn pictures_come_into_a_hosts_texture() {
    use wgpu::{TextureFormat, TextureUsages};

    for gpu in every_gpu() {
        let rcdm = rcdm(&gpu);
        let options = SampleOptions { samples: 3, batch: Some(2), method: Method::ddpm(2), ..SampleOptions::default() };
        let h = SplitMix::new(5).floats(rcdm.config().ssl_dim);
        let mut job = rcdm.start(&[&h], &options).expect("a job");
        let usage = TextureUsages::COPY_DST | TextureUsages::COPY_SRC | TextureUsages::TEXTURE_BINDING;
        let texture = |format, usage| texture(&gpu, format, usage);
        let good = texture(TextureFormat::Rgba8Unorm, usage);
        let show = |job: &mut Job, sample, texture: &wgpu::Texture, x, y| {
            let mut encoder = encoder(&gpu);
            let shown = job.show(&mut encoder, sample, &Place { texture, x, y });
            gpu.queue().submit([encoder.finish()]);
            shown
        };
        assert!(job.in_view().is_empty() && show(&mut job, 0, &good, 0, 0).is_err(), "nothing to show yet");
        let assert_shown = |job: &mut Job, want: &[RgbImage]| {
            // One after the other, at positions without any alignment.
            assert_eq!(job.in_view(), 0..2);
            show(job, 0, &good, 3, 5).expect("a picture");
            show(job, 1, &good, WIDTH - SIZE, HEIGHT - SIZE).expect("a picture");
            let got = read(&gpu, &good);
            for (image, (x, y)) in want.iter().zip([(3, 5), (WIDTH - SIZE, HEIGHT - SIZE)]) {
                let part = image::imageops::crop_imm(&got, x, y, SIZE, SIZE).to_image();
                assert!(part == *image, "{} at {x}, {y}", gpu.name());
            }
        };
        job.step().expect("a step");
        let preview = job.preview().expect("previews");
        assert_shown(&mut job, &preview);
        // The end of the batch: its last prediction is the image.
        job.step().expect("a step");
        let images = job.images().to_vec();
        assert!(images.len() == 2 && job.preview().expect("previews") == images);
        assert_shown(&mut job, &images);

        // The next batch has one requested sample, and one that was not requested.
        job.step().expect("a step");
        assert_eq!((job.in_view(), job.preview().expect("a preview").len()), (2..3, 1));
        show(&mut job, 2, &good, 0, 0).expect("a picture");
        for (sample, texture, x, y) in [
            (1, &good, 0, 0),
            (3, &good, 0, 0),
            (2, &good, WIDTH - SIZE + 1, 0),
            (2, &good, 0, HEIGHT - SIZE + 1),
            (2, &good, u32::MAX, 0),
            (2, &texture(TextureFormat::Bgra8Unorm, usage), 0, 0),
            (2, &texture(TextureFormat::Rgba8Unorm, TextureUsages::TEXTURE_BINDING), 0, 0),
        ] {
            let refused = show(&mut job, sample, texture, x, y);
            assert!(matches!(refused, Err(Error::Config(_) | Error::Shape(_))), "{refused:?}");
        }
        ran(&gpu.name(), "pictures in a host's texture");
    }
}
