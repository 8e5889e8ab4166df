//! Tests the starts of runs: given noise, noised images, and numbers that do not begin at 0.

use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use percept::Error;
use percept::diffusion::noise::{Stream, fill};
use percept::diffusion::{NoiseSchedule, Sampler, Schedule};
use percept::images;
use percept::{Bundle, Method, Preprocessing, Rcdm, SampleOptions, Start, Status};
use percept_tests::SplitMix;

use crate::model_files::{asset, cpu, devices, trunk_decoder};

/// The elements of an image of the demo's decoders.
const ELEMENTS: usize = 32 * 32 * 3;

fn options(method: Method, start: Start) -> SampleOptions {
    SampleOptions { samples: 3, method, seed: 9, batch: Some(2), start, ..SampleOptions::default() }
}

fn sample(rcdm: &Rcdm, options: &SampleOptions) -> Vec<RgbImage> {
    rcdm.sample(&SplitMix::new(5).floats(rcdm.config().ssl_dim), options).expect("images")
}

/// Returns the noise that the seed draws for samples with these numbers.
fn drawn(numbers: std::ops::Range<u32>) -> Vec<f32> {
    let mut all = Vec::new();
    for number in numbers {
        let mut noise = vec![0.0; ELEMENTS];
        fill(9, number, 0, Stream::Start, &mut noise);
        all.extend(noise);
    }
    all
}

fn star() -> RgbImage {
    images::open(asset("images/4_star.png")).expect("a picture")
}

fn picture() -> Arc<[f32]> {
    let preprocessing = Preprocessing::new("rcdm", 32).expect("a preset");
    preprocessing.to_input(&preprocessing.crop(&star()).expect("a crop")).into()
}

#[test]
fn noise_that_is_given_is_as_if_it_were_drawn() {
    for device in devices() {
        let rcdm = Rcdm::open(asset("decoder_trunk.safetensors"), &device).expect("a decoder");
        for method in [Method::ddpm(2), Method::ddim(2)] {
            let plain = sample(&rcdm, &options(method.clone(), Start::Drawn));
            let given = sample(&rcdm, &options(method.clone(), Start::Given(drawn(0..3).into())));
            assert!(plain == given, "{method:?} on {}", device.name());
            let other = sample(&rcdm, &options(method, Start::Given(drawn(1..4).into())));
            assert!(other != plain);
        }
    }
}

#[test]
fn a_part_of_a_run_is_what_it_is_in_the_whole() {
    let rcdm = trunk_decoder();
    let whole = sample(&rcdm, &options(Method::ddpm(2), Start::Drawn));
    let part = |first_sample, samples, start| {
        sample(&rcdm, &SampleOptions { first_sample, samples, ..options(Method::ddpm(2), start) })
    };
    assert!(part(1, 2, Start::Drawn) == whole[1..] && part(2, 1, Start::Given(drawn(2..3).into())) == whole[2..]);
    let refused = SampleOptions { first_sample: u32::MAX, samples: 1, ..SampleOptions::default() };
    assert!(matches!(rcdm.sample(&[0.0; 256], &refused), Err(Error::Config(mismatch)) if mismatch.at == "samples"));
}

/// Computes `sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) e` in f64, with alpha_bar at a step of a respacing.
fn noised(image: &[f32], respacing: &str, step: usize) -> Vec<f32> {
    let alpha_bar = Schedule::new(NoiseSchedule::Cosine, 1000, respacing).expect("a schedule").alphas_cumprod[step];
    let mix = |(x, e): (&f32, f32)| (alpha_bar.sqrt() * f64::from(*x) + (1.0 - alpha_bar).sqrt() * f64::from(e)) as f32;
    image.iter().cycle().zip(drawn(0..3)).map(mix).collect()
}

#[test]
fn an_image_is_noised_by_the_formula() {
    let rcdm = trunk_decoder();
    assert_eq!(rcdm.config().noise_schedule, "cosine");
    let image = picture();
    let of = |step| Start::Noised { image: image.clone(), step };
    // From the noisiest step, no step is skipped.
    let last = sample(&rcdm, &options(Method::ddim(4), of(3)));
    assert!(last == sample(&rcdm, &options(Method::ddim(4), Start::Given(noised(&image, "ddim4", 3).into()))));
    // The last step is the only one of another run, which begins with the same noise.
    let first = sample(&rcdm, &options(Method::ddpm(4), of(0)));
    let alone = sample(&rcdm, &options(Method::ddpm(1), Start::Given(noised(&image, "1", 0).into())));
    assert!(first == alone && first[0] != first[1]);
    assert_eq!(noised(&image, "4", 0), noised(&image, "1", 0));
}

/// Uses the image's own h: with another image's h the demo's decoder makes another image from any step.
#[test]
fn the_fewer_steps_the_closer_to_the_image() {
    let mut bundle = Bundle::open(asset("trunk.bundle.json"), &cpu()).expect("a bundle");
    let h = bundle.encoder.encode(&star()).expect("h");
    let image = picture();
    let all = Method { steps: "25".into(), ..Method::ddpm(1) };
    let distances = [0, 3, 12, 24].map(|step| {
        let options = options(all.clone(), Start::Noised { image: image.clone(), step });
        let samples = bundle.rcdm.sample(&h, &options).expect("images");
        let bytes = samples.iter().flat_map(|sample| sample.as_raw());
        let apart =
            bytes.zip(image.iter().cycle()).map(|(&byte, &x)| (f64::from(byte) - f64::from(x + 1.0) * 127.5).abs());
        apart.sum::<f64>() / (3 * ELEMENTS) as f64
    });
    assert!(distances[0] < 4.0, "{distances:?} of 255");
    assert!(distances.windows(2).all(|pair| pair[0] < pair[1]), "{distances:?}");
}

#[test]
fn runs_from_any_start_go_on_from_any_step() {
    let rcdm = trunk_decoder();
    let h = SplitMix::new(5).floats(rcdm.config().ssl_dim);
    for start in [Start::Given(drawn(4..7).into()), Start::Noised { image: picture(), step: 1 }] {
        let options = SampleOptions { first_sample: 7, ..options(Method::ddpm(3), start) };
        let job = || rcdm.start(&[&h], &options).expect("a job");
        let total = job().progress().total;
        assert_eq!(total, if matches!(options.start, Start::Given(_)) { 6 } else { 4 });
        let want = job().finish().expect("images");
        for steps in 0..=total {
            let mut job = job();
            while job.progress().done < steps {
                job.step().expect("a step");
            }
            job.advance(Duration::ZERO).expect("an op");
            let resumed = trunk_decoder().resume(&job.state().expect("a state")).expect("a job");
            assert_eq!((resumed.progress().done, resumed.samples()), (steps, 3));
            assert!(resumed.finish().expect("images") == want, "from step {steps}");
            assert!(job.finish().expect("images") == want, "saving changes nothing");
        }
        let mut last = job();
        while last.step().expect("a step").status == Status::Running {}
        assert_eq!(last.progress().done, total);
    }
}

#[test]
fn a_start_that_does_not_fit_is_refused() {
    let rcdm = trunk_decoder();
    let refused = |method, start| rcdm.sample(&[0.0; 256], &options(method, start)).expect_err("no start").to_string();
    let mut broken = drawn(0..3);
    let short: Arc<[f32]> = broken[1..].into();
    broken[5] = f32::NAN;
    for (method, start, saying) in [
        (Method::ddpm(2), Start::Given(short), "start: expected [3, 32, 32, 3], got 9215 values"),
        (Method::ddpm(2), Start::Given(broken.into()), "start: expected finite values, got NaN at element 5"),
        (
            Method::ddpm(2),
            Start::Noised { image: drawn(0..3).into(), step: 1 },
            "image to be noised: expected [1, 32, 32, 3], got 9216 values",
        ),
        (
            Method::ddpm(2),
            Start::Noised { image: picture(), step: 2 },
            "start.step: expected 0 to 1, the noisiest step, got 2",
        ),
        (
            Method { sampler: Sampler::DdimReverse, ..Method::ddim(2) },
            Start::Noised { image: picture(), step: 1 },
            "start: expected images, with DDIM reverse",
        ),
        (
            Method { sampler: Sampler::DdimReverse, ..Method::ddim(2) },
            Start::Drawn,
            "start: expected images, with DDIM reverse",
        ),
    ] {
        let told = refused(method, start);
        assert!(told.contains(saying), "{told}: {saying}");
    }
}
