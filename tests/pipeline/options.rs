//! Tests the effect of every field of [`SampleOptions`] and [`Method`] on a run, and that a state keeps it.

use std::sync::Arc;

use image::RgbImage;
use percept::diffusion::Sampler;
use percept::diffusion::noise::{Stream, fill};
use percept::{Error, Result};
use percept::{Job, Method, Rcdm, SampleOptions, Start};
use percept_tests::{SplitMix, assert_every_field_has_a_case, fields};
use serde_json::json;
use tempfile::TempDir;

use crate::flags::{weights_of, write};
use crate::model_files::cpu;

/// The effect of a changed field on the images of a run.
#[derive(Debug)]
enum Expect {
    /// None.
    Same,
    /// All images change.
    Others,
    /// The same images, and then one more.
    OneMore,
    /// The run begins with the second image, and ends with one more.
    OneLater,
    /// The run is refused, with an error of this place.
    Refused(&'static str),
}

use Expect::{OneLater, OneMore, Others, Refused, Same};

/// A field, options, the same options with another value of the field, the effect on the images, and the number
/// of steps of the second run.
type Case = (&'static str, SampleOptions, SampleOptions, Expect, usize);

/// Opens a decoder of images of 8 pixels with 10 classes, trained with 24 steps.
fn decoder() -> (TempDir, impl Fn() -> Rcdm) {
    let config = json!({
        "image_size": 8, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1", "attention_resolutions": "4",
        "class_cond": true, "num_classes": 10, "learn_sigma": true, "ssl_dim": 6, "conditioning": "time_embedding",
        "diffusion_steps": 24,
    });
    let (folder, path) = write(&config, &weights_of(&config));
    (folder, move || Rcdm::open(&path, &cpu()).expect("a decoder"))
}

/// Returns options for a batch of 2 and one of 1, with 3 steps each.
fn options() -> SampleOptions {
    SampleOptions {
        samples: 3,
        method: Method::ddpm(3),
        seed: 9,
        batch: Some(2),
        class: Some(3),
        ..SampleOptions::default()
    }
}

fn with(change: impl FnOnce(&mut SampleOptions)) -> SampleOptions {
    let mut options = options();
    change(&mut options);
    options
}

/// Returns the noise that the seed draws for three samples, beginning with this number.
fn drawn(first: u32) -> Arc<[f32]> {
    let mut x = vec![0.0; 3 * 8 * 8 * 3];
    for (number, sample) in (first..).zip(x.chunks_mut(8 * 8 * 3)) {
        fill(options().seed, number, 0, Stream::Start, sample);
    }
    x.into()
}

/// Returns all cases. `memory_of_one` is the memory of a batch of one.
fn cases(memory_of_one: usize) -> Vec<Case> {
    let image: Arc<[f32]> = SplitMix::new(2).floats(8 * 8 * 3).into();
    let sampler = |sampler| with(|options| options.method.sampler = sampler);
    let respacing = |respacing: &str| with(|options| options.method.steps = respacing.into());
    let seed = |seed| with(|options| options.seed = seed);
    let batch = |batch| with(|options| options.batch = batch);
    let class = |class| with(|options| options.class = class);
    let start = |start| with(|options| options.start = start);
    let noised = |step| start(Start::Noised { image: image.clone(), step });
    let first_sample = |first| with(|options| options.first_sample = first);
    let memory = |bytes| with(|options| options.memory = Some(bytes));
    // DDIM reverse takes the same values as images.
    let given = |of| SampleOptions { start: Start::Given(drawn(0)), ..sampler(of) };
    let ddim = |eta| Sampler::Ddim { eta };
    vec![
        ("samples", options(), with(|options| options.samples = 4), OneMore, 6),
        ("samples", options(), with(|options| options.samples = 0), Refused("samples and batch"), 0),
        ("method.sampler", options(), sampler(ddim(0.0)), Others, 6),
        ("method.sampler", sampler(ddim(0.0)), sampler(ddim(0.5)), Others, 6),
        ("method.sampler", given(ddim(0.0)), given(Sampler::DdimReverse), Others, 6),
        ("method.sampler", sampler(ddim(0.5)), sampler(ddim(1.0)), Others, 6),
        ("method.sampler", options(), sampler(ddim(1.0f64.next_up())), Refused("eta"), 0),
        ("method.steps", options(), respacing("4"), Others, 8),
        ("method.steps", options(), respacing("ddim3"), Others, 6),
        ("method.steps", options(), respacing(""), Others, 48),
        ("method.steps", respacing(""), respacing("24"), Same, 48),
        ("method.steps", options(), respacing("25"), Refused("timestep_respacing"), 0),
        ("method.clip", options(), with(|options| options.method.clip = false), Others, 6),
        ("seed", options(), seed(10), Others, 6),
        ("seed", options(), seed(9 + (1 << 32)), Others, 6),
        ("seed", options(), seed(u64::MAX), Others, 6),
        ("batch", options(), batch(Some(1)), Same, 9),
        ("batch", options(), batch(Some(3)), Same, 3),
        ("batch", options(), batch(None), Same, 3),
        ("batch", options(), batch(Some(0)), Refused("samples and batch"), 0),
        ("class", options(), class(Some(4)), Others, 6),
        ("class", options(), class(Some(9)), Others, 6),
        ("class", options(), class(Some(10)), Refused("class"), 0),
        ("class", options(), class(None), Refused("class"), 0),
        ("start", options(), start(Start::Given(drawn(0))), Same, 6),
        ("start", options(), start(Start::Given(drawn(1))), Others, 6),
        ("start", options(), noised(1), Others, 4),
        ("start", noised(1), noised(0), Others, 2),
        ("start", noised(1), noised(2), Others, 6),
        ("start", options(), noised(3), Refused("start.step"), 0),
        ("first_sample", options(), first_sample(1), OneLater, 6),
        ("first_sample", noised(1), SampleOptions { first_sample: 1, ..noised(1) }, OneLater, 4),
        ("first_sample", options(), first_sample(u32::MAX - 3), Others, 6),
        ("first_sample", options(), first_sample(u32::MAX - 2), Refused("samples"), 0),
        ("memory", options(), memory(usize::MAX), Same, 6),
        ("memory", options(), memory(memory_of_one), Same, 9),
        ("memory", options(), memory(1), Refused("memory"), 0),
    ]
}

fn start(rcdm: &Rcdm, options: &SampleOptions) -> Result<Job> {
    rcdm.start(&[&SplitMix::new(5).floats(6)], options)
}

fn images(job: Job) -> Vec<RgbImage> {
    job.finish().expect("images").concat()
}

fn all_cases(rcdm: &Rcdm) -> Vec<Case> {
    cases(rcdm.estimate(&options().method, 1).expect("an estimate").total())
}

/// Returns the place of an error.
fn place(error: Error) -> String {
    match error {
        Error::Config(mismatch) | Error::OutOfMemory(mismatch) => mismatch.at,
        other => panic!("{other}"),
    }
}

#[test]
fn every_option_changes_what_it_should() {
    let (_folder, open) = decoder();
    let rcdm = open();
    let cases = all_cases(&rcdm);
    for (index, (field, given, changed, expect, steps)) in cases.iter().enumerate() {
        let case = format!("case {index}, {field}");
        let was = images(start(&rcdm, given).expect("a job"));
        let job = match (start(&rcdm, changed), expect) {
            (Ok(job), _) => job,
            (Err(error), Refused(at)) => {
                assert_eq!(place(error), *at, "{case}");
                continue;
            }
            (Err(error), _) => panic!("{case}: {error}"),
        };
        assert_eq!(job.progress().total, *steps, "{case}: steps");
        let is = images(job);
        let is_right = match expect {
            Same => is == was,
            Others => is.len() == was.len() && is.iter().all(|image| !was.contains(image)),
            OneMore => is.len() == was.len() + 1 && is[..was.len()] == was,
            OneLater => is.len() == was.len() && is[..was.len() - 1] == was[1..] && !was.contains(&is[was.len() - 1]),
            Refused(_) => false,
        };
        assert!(is_right, "{case}: want {expect:?}");
    }
    let method = fields!(Method { sampler, steps, clip }).map(|field| format!("method.{field}"));
    let options = fields!(SampleOptions { samples, method, seed, batch, class, start, first_sample, memory });
    let others = options.into_iter().filter(|field| *field != "method");
    let fields: Vec<&str> = others.chain(method.iter().map(String::as_str)).collect();
    assert_every_field_has_a_case(&fields, &cases.iter().map(|(field, ..)| *field).collect::<Vec<_>>());
}

/// Resumes with nothing but the file and the state, as another process would.
#[test]
fn a_state_keeps_every_option() {
    let (_folder, open) = decoder();
    let rcdm = open();
    for (index, (field, _, changed, expect, steps)) in all_cases(&rcdm).into_iter().enumerate() {
        if matches!(expect, Refused(_)) {
            continue;
        }
        let want = images(start(&rcdm, &changed).expect("a job"));
        // Before the first step, within the first batch, and before the last step.
        for taken in [0, 1, steps - 1] {
            let mut job = start(&rcdm, &changed).expect("a job");
            while job.progress().done < taken {
                job.step().expect("a step");
            }
            let resumed = open().resume(&job.state().expect("a state")).expect("a job");
            let (progress, case) = (resumed.progress(), format!("case {index}, {field}, from step {taken}"));
            assert_eq!((progress.done, progress.total, resumed.samples()), (taken, steps, want.len()), "{case}");
            assert!(images(resumed) == want, "{case}");
        }
    }
}
