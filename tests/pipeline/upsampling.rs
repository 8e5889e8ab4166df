//! Tests upsamplers, which turn small images into large ones, as jobs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::RgbImage;
use percept::Error;
use percept::Preprocessing;
use percept::diffusion::Sampler;
use percept::diffusion::{Batch, NoiseFrom, SamplingLoop};
use percept::images::preprocessing::to_image;
use percept::{Device, Job, Method, Rcdm, SampleOptions, Status, Upsampler};
use percept_tests::{SplitMix, golden_model, write_synthetic};
use tempfile::TempDir;

use crate::model_files::{asset, cpu, devices, trunk_decoder};

/// Writes a golden's weights as a model file, with `flags` in its configuration.
fn write_golden(golden: &str, kind: &str, flags: &[(&str, serde_json::Value)]) -> (TempDir, PathBuf) {
    let (config, weights) = golden_model(golden);
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    for (flag, value) in flags {
        config[flag] = value.clone();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(format!("{golden}.safetensors"));
    write_synthetic(&path, kind, &config.to_string(), &weights);
    (folder, path)
}

fn open(golden: &str, device: &Device) -> Upsampler {
    let (_folder, path) = write_golden(golden, "superres", &[]);
    Upsampler::open(&path, device).expect("an upsampler")
}

/// Opens an upsampler of images of 8 pixels, without classes.
fn plain(device: &Device) -> Upsampler {
    open("sampler_superres_8_32_ddim", device)
}

/// Opens an upsampler of images of 16 pixels, with 7 classes.
fn of_classes(device: &Device) -> Upsampler {
    open("sampler_superres_16_32", device)
}

fn pictures(count: u64, size: u32) -> Vec<RgbImage> {
    let picture = |seed| {
        let bytes = (0..size * size * 3).scan(SplitMix::new(seed), |random, _| Some(random.word() as u8));
        RgbImage::from_raw(size, size, bytes.collect()).expect("a picture")
    };
    (0..count).map(picture).collect()
}

/// Returns options for a batch of 2 and one of 1, with 3 steps each.
fn options() -> SampleOptions {
    SampleOptions { samples: 1, method: Method::ddpm(3), seed: 9, batch: Some(2), ..SampleOptions::default() }
}

fn start(upsampler: &Upsampler, pictures: &[RgbImage], options: &SampleOptions) -> percept::Result<Job> {
    upsampler.start(&pictures.iter().collect::<Vec<_>>(), options)
}

fn large(upsampler: &Upsampler, pictures: &[RgbImage], options: &SampleOptions) -> Vec<Vec<RgbImage>> {
    start(upsampler, pictures, options).expect("a job").finish().expect("images")
}

#[test]
fn a_job_does_what_a_plain_run_does() {
    let (upsampler, small) = (of_classes(&cpu()), pictures(3, 16));
    let options = SampleOptions { class: Some(5), ..options() };
    let mut want = Vec::new();
    for (place, small) in small.iter().enumerate() {
        let sampling = SamplingLoop::new(upsampler.model(), upsampler.config(), &options.method, 1, NoiseFrom::Seed);
        let sampling = sampling.expect("a program");
        let mut executor = cpu().load(sampling.program(), upsampler.model()).expect("an executor");
        let batch = Batch {
            low_res: &Preprocessing::new("rcdm", small.width()).expect("a preset").to_input(small),
            labels: &[5],
            // The noise differs from a decoder's.
            seed: options.seed ^ u64::from_be_bytes(*b"upsample"),
            first_sample: place as u32,
            ..Batch::default()
        };
        let x = sampling.run(executor.as_mut(), &batch, &mut |_, _| Ok(ControlFlow::Continue(())));
        want.push(vec![to_image(&x.expect("a run"), 32, 32).expect("an image")]);
    }
    assert!(want[0] != want[1] && want[1] != want[2]);
    assert!(large(&upsampler, &small, &options) == want);
    let other = SampleOptions { class: Some(6), ..options };
    assert!(large(&upsampler, &small, &other) != want, "another class");
}

#[test]
fn an_image_depends_on_its_small_one_its_number_and_the_seed() {
    let (upsampler, small) = (plain(&cpu()), pictures(3, 8));
    let want = large(&upsampler, &small, &options());
    assert_eq!(want.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(want.iter().flatten().all(|image| image.dimensions() == (32, 32)));
    for batch in [Some(1), Some(3), None] {
        assert!(large(&upsampler, &small, &SampleOptions { batch, ..options() }) == want, "batches of {batch:?}");
    }
    assert!(large(&upsampler, &small, &SampleOptions { seed: 8, ..options() }) != want, "another seed");
    // The first has another neighbour, the second another small image.
    let other = large(&upsampler, &[small[0].clone(), small[2].clone()], &options());
    assert!(other[0] == want[0] && other[1] != want[1] && other[1] != want[2]);
    // Several samples of each: sample 2 is the first of the second image.
    let twice = large(&upsampler, &[small[0].clone(), small[2].clone()], &SampleOptions { samples: 2, ..options() });
    assert!(twice[0][0] == want[0][0] && twice[1][0] == want[2][0] && twice[0][1] != twice[0][0]);
    assert!(large(&upsampler, &[], &options()).is_empty());
}

#[test]
fn slices_give_the_same_images_on_every_device() {
    let small = pictures(2, 8);
    let want = large(&plain(&cpu()), &small, &options());
    for device in devices() {
        let upsampler = plain(&device);
        let mut job = start(&upsampler, &small, &options()).expect("a job");
        assert_eq!(job.memory().total(), upsampler.estimate(&options().method, 2).expect("an estimate").total());
        while job.advance(Duration::from_millis(8)).expect("a slice").status == Status::Running {
            std::thread::sleep(Duration::from_millis(1));
        }
        let images = job.finish().expect("images");
        assert!(images == large(&upsampler, &small, &options()), "{}", device.name());
        let bytes = |rows: &[Vec<RgbImage>]| rows.iter().flatten().flat_map(|image| image.to_vec()).collect::<Vec<_>>();
        let apart = bytes(&images).iter().zip(bytes(&want)).map(|(a, b)| a.abs_diff(b)).max();
        assert!(apart <= Some(1), "{}: bytes differ by {apart:?}", device.name());
    }
}

#[test]
fn a_job_goes_on_from_any_step() {
    let (_folder, path) = write_golden("sampler_superres_16_32", "superres", &[]);
    let open = || Upsampler::open(&path, &cpu()).expect("an upsampler");
    let eta = Method { sampler: Sampler::Ddim { eta: 0.5 }, ..Method::ddim(2) };
    for method in [Method::ddpm(3), eta] {
        let (upsampler, small) = (open(), pictures(3, 16));
        let options = SampleOptions { method, class: Some(0), ..options() };
        let want = large(&upsampler, &small, &options);
        let total = start(&upsampler, &small, &options).expect("a job").progress().total;
        for steps in 0..=total {
            let mut job = start(&upsampler, &small, &options).expect("a job");
            while job.progress().done < steps {
                job.step().expect("a step");
            }
            let resumed = open().resume(&job.state().expect("a state")).expect("a job");
            assert_eq!(resumed.progress().done, steps);
            assert!(resumed.finish().expect("images") == want, "from step {steps}");
        }
    }
}

#[test]
fn a_job_that_is_cancelled_gives_what_is_whole() {
    let (upsampler, small) = (plain(&cpu()), pictures(3, 8));
    let want = large(&upsampler, &small, &options());
    let refs: Vec<&RgbImage> = small.iter().collect();
    for (steps, whole) in [(1, 0), (3, 2), (5, 2), (6, 3)] {
        let mut on_step = |job: &mut Job| match job.progress().done == steps {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let rows = upsampler.sample_all(&refs, &options(), &mut on_step).expect("images").concat();
        assert!(rows == want.concat()[..whole], "after {steps} steps");
    }
    assert!(large(&upsampler, &small, &options()) == want);
}

#[test]
fn states_of_other_models_are_refused() {
    let state = |job: percept::Result<Job>| job.expect("a job").state().expect("a state");
    let rcdm = trunk_decoder();
    let of_rcdm = state(rcdm.start(&[&vec![0.0; rcdm.config().ssl_dim]], &options()));
    let (plain, of_classes) = (plain(&cpu()), of_classes(&cpu()));
    let of_plain = state(start(&plain, &pictures(1, 8), &options()));
    let of_none = state(start(&plain, &[], &options()));
    for (refused, saying) in [
        (plain.resume(&of_rcdm), "\"small_images\""),
        (rcdm.resume(&of_plain), "\"representations\""),
        (of_classes.resume(&of_plain), "small_images of shape [16, 16, 3]"),
        (plain.resume(&of_plain[..of_plain.len() - 1]), "a job's state"),
    ] {
        match refused {
            Err(Error::File(told)) => {
                assert!(told.at == "state of a job" && told.to_string().contains(saying), "{told}: want {saying}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("no error: want {saying}"),
        }
    }
    assert!(plain.resume(&of_none).expect("a job").finish().expect("no images").is_empty());
}

#[test]
fn what_cannot_be_upsampled_is_named() {
    let (plain, of_classes) = (plain(&cpu()), of_classes(&cpu()));
    let refused = |upsampler: &Upsampler, sizes: &[(u32, u32)], class: Option<u32>| {
        let small: Vec<RgbImage> = sizes.iter().map(|&(width, height)| RgbImage::new(width, height)).collect();
        let job = start(upsampler, &small, &SampleOptions { class, ..options() });
        match job.and_then(Job::finish) {
            Err(error) => error,
            Ok(_) => panic!("no error"),
        }
    };
    for size in [(7, 8), (8, 9), (16, 16), (32, 32), (0, 0)] {
        let Error::Image(told) = refused(&plain, &[(8, 8), size], None) else { panic!("want an error of the image") };
        let got = format!("{} x {}", size.0, size.1);
        assert_eq!((told.at.as_str(), told.got.as_str()), ("small image 1", got.as_str()));
        assert!(told.expected.starts_with("8 x 8 pixels"), "{told}");
    }
    for (upsampler, class, expected, got) in [
        (&of_classes, None, "0 to 6: the model wants one", "none"),
        (&of_classes, Some(7), "0 to 6", "7"),
        (&of_classes, Some(u32::MAX), "0 to 6", "4294967295"),
        (&plain, Some(0), "none: the model is not class-conditional", "0"),
    ] {
        let size = upsampler.config().small_size as u32;
        let Error::Config(told) = refused(upsampler, &[(size, size)], class) else {
            panic!("want an error of the class")
        };
        assert_eq!((told.at.as_str(), told.expected.as_str(), told.got.as_str()), ("class", expected, got));
    }
}

#[test]
fn models_of_other_kinds_are_refused() {
    let refused = |path: &Path, is_upsampler: bool| {
        let error = match is_upsampler {
            true => Upsampler::open(path, &cpu()).map(|_| ()),
            false => Rcdm::open(path, &cpu()).map(|_| ()),
        };
        let error = error.expect_err("another kind").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        error
    };
    let golden = "sampler_superres_8_32_ddim";
    let (_folder, upsampler) = write_golden(golden, "superres", &[]);
    assert!(refused(&upsampler, false).contains(r#"a model of kind "unet", got "superres""#));
    let decoder = asset("decoder_trunk.safetensors");
    assert!(refused(&decoder, true).contains(r#"a model of kind "superres", got "unet""#));
    // The kind of the file does not match its configuration.
    let (_folder, as_unet) = write_golden(golden, "unet", &[]);
    assert!(refused(&as_unet, false).contains("small_size: expected none: a unet is no upsampler, got 8"));
    let (_folder, as_upsampler) = write_golden("unet_rcdm_32", "superres", &[]);
    assert!(refused(&as_upsampler, true).contains("small_size: expected the size of the image"));
    let told = [("ssl_dim", 64.into()), ("conditioning", "time_embedding".into())];
    let (_folder, conditioned) = write_golden(golden, "superres", &told);
    assert!(refused(&conditioned, true).contains("ssl_dim: expected 0"));
}
