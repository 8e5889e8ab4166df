//! Tests jobs: slices, cancelling, resuming from a state, several at once.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use image::RgbImage;
use percept::Error;
use percept::diffusion::Sampler;
use percept::diffusion::{Batch, NoiseFrom, SamplingLoop};
use percept::images::preprocessing::to_image;
use percept::{Job, Method, Rcdm, SampleOptions, Status};
use percept_tests::SplitMix;

use crate::model_files::{asset, cpu, trunk_decoder, write_changed};

/// Returns options for a batch of 2 and one of 1, which also samples an image that was not requested; 3 steps
/// each.
fn options() -> SampleOptions {
    SampleOptions { samples: 3, method: Method::ddpm(3), seed: 9, batch: Some(2), ..SampleOptions::default() }
}

fn representation(rcdm: &Rcdm) -> Vec<f32> {
    SplitMix::new(5).floats(rcdm.config().ssl_dim)
}

fn start(rcdm: &Rcdm) -> Job {
    rcdm.start(&[&representation(rcdm)], &options()).expect("a job")
}

fn images(job: Job) -> Vec<RgbImage> {
    job.finish().expect("images").concat()
}

fn decoder() -> PathBuf {
    asset("decoder_trunk.safetensors")
}

/// Returns the images of [`start`] by [`SamplingLoop::run`], which knows nothing of jobs, and x_t and x_0 after
/// each step of the first batch.
fn plain_run(rcdm: &Rcdm) -> (Vec<RgbImage>, Vec<[Vec<f32>; 2]>) {
    let (options, h) = (options(), representation(rcdm));
    let (mut images, mut steps) = (Vec::new(), Vec::new());
    for (first_sample, count) in [(0, 2), (2, 1)] {
        let sampling = SamplingLoop::new(rcdm.model(), rcdm.config(), &options.method, count, NoiseFrom::Seed);
        let sampling = sampling.expect("a program");
        let mut executor = cpu().load(sampling.program(), rcdm.model()).expect("an executor");
        let batch = Batch { feat: &h.repeat(count), seed: options.seed, first_sample, ..Batch::default() };
        let x = sampling.run(executor.as_mut(), &batch, &mut |executor, _| {
            if first_sample == 0 {
                steps.push([executor.read("x")?, executor.read("x_0")?]);
            }
            Ok(ControlFlow::Continue(()))
        });
        let size = rcdm.config().image_size;
        for image in x.expect("a run").chunks(size * size * 3) {
            images.push(to_image(image, size as u32, size as u32).expect("an image"));
        }
    }
    (images, steps)
}

#[test]
fn a_job_does_what_a_plain_run_does() {
    let rcdm = trunk_decoder();
    let (want, steps) = plain_run(&rcdm);
    assert!(want.len() == 3 && steps.len() == 3 && want[0] != want[1] && want[1] != want[2]);
    let mut job = start(&rcdm);
    for (index, [x_t, x_0]) in steps.into_iter().enumerate() {
        assert_eq!(job.step().expect("a step").done, index + 1);
        assert!(job.x_0().expect("x_0") == x_0, "step {index}");
        // After the last step, the next batch has begun, and its noise has replaced x_t.
        assert!(index == 2 || job.x_t().expect("x_t") == x_t, "step {index}");
    }
    assert!(images(job) == want);
}

#[test]
fn slices_of_any_size_give_the_same_images() {
    let rcdm = trunk_decoder();
    let want = rcdm.sample(&representation(&rcdm), &options()).expect("images");
    assert_eq!(want.len(), 3);
    for budget in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(20), Duration::MAX] {
        let mut job = start(&rcdm);
        let (mut calls, mut before) = (0, job.progress());
        while job.advance(budget).expect("a slice").status == Status::Running {
            let now = job.progress();
            assert!(now.done >= before.done && now.total == 6, "{now:?} after {before:?}");
            (calls, before) = (calls + 1, now);
        }
        // A budget of zero runs one op at a time.
        assert!(calls > if budget.is_zero() { 200 } else { 0 } || budget == Duration::MAX, "{calls} of {budget:?}");
        assert!(job.images() == want && images(job) == want, "{budget:?}");
    }
}

#[test]
fn a_job_can_be_moved_and_cancelled_from_another_thread() {
    let rcdm = trunk_decoder();
    let mut job = start(&rcdm);
    let token = job.token();
    let advanced = std::thread::spawn(move || {
        while job.advance(Duration::ZERO).expect("a slice").status == Status::Running {}
        (job.progress(), images(job))
    });
    token.cancel();
    let (progress, images) = advanced.join().expect("no panic");
    assert_eq!((progress.status, images.len()), (Status::Cancelled, 0), "{progress:?}");
}

#[test]
fn a_job_cancelled_at_any_step_gives_what_is_whole_and_leaves_nothing_behind() {
    let rcdm = trunk_decoder();
    let want = images(start(&rcdm));
    for steps in 0..=6 {
        let mut job = start(&rcdm);
        while job.progress().done < steps {
            job.step().expect("a step");
        }
        // Cancel within the next step.
        job.advance(Duration::ZERO).expect("an op");
        job.token().cancel();
        let before = job.progress().done;
        assert_eq!(job.advance(Duration::MAX).expect("nothing").done, before);
        let whole = [0, 0, 0, 2, 2, 2, 3][steps];
        assert!(images(job) == want[..whole], "after {steps} steps");
    }
    assert!(images(start(&rcdm)) == want);
}

#[test]
fn a_preview_shows_what_is_to_come() {
    let rcdm = trunk_decoder();
    let mut job = start(&rcdm);
    assert!(job.preview().expect("nothing yet").is_empty());
    let distance = |a: &RgbImage, b: &RgbImage| -> u64 {
        a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    let mut previews = Vec::new();
    for _ in 0..2 {
        job.step().expect("a step");
        // Within the next step, the preview is still that of the last one.
        let preview = job.preview().expect("a preview");
        job.advance(Duration::ZERO).expect("an op");
        assert!(job.preview().expect("a preview") == preview);
        assert_eq!(job.x_t().expect("x_t").len(), 2 * 32 * 32 * 3);
        previews.push(preview);
    }
    let images = images(job);
    for place in 0..2 {
        let [first, second] = [0, 1].map(|step| distance(&previews[step][place], &images[place]));
        assert!(second < first && second > 0, "{second} after {first}");
    }
}

#[test]
fn two_jobs_at_once_do_not_disturb_each_other() {
    let rcdm = trunk_decoder();
    let want = images(start(&rcdm));
    let other = SampleOptions { method: Method::ddim(2), samples: 2, seed: 4, ..options() };
    let h = SplitMix::new(6).floats(rcdm.config().ssl_dim);
    let want_other = rcdm.sample(&h, &other).expect("images");
    let (mut one, mut two) = (start(&rcdm), rcdm.start(&[&h], &other).expect("a job"));
    loop {
        let of_one = one.advance(Duration::from_micros(500)).expect("a slice").status;
        let of_two = two.advance(Duration::from_micros(900)).expect("a slice").status;
        if (of_one, of_two) == (Status::Done, Status::Done) {
            break;
        }
    }
    assert!(images(one) == want && images(two) == want_other);
}

#[test]
fn a_job_goes_on_from_any_step() {
    let eta = Method { sampler: Sampler::Ddim { eta: 0.1 + 0.2 }, ..Method::ddim(2) };
    for method in [Method::ddpm(3), eta] {
        let rcdm = trunk_decoder();
        let options = SampleOptions { method, ..options() };
        let start = || rcdm.start(&[&representation(&rcdm)], &options).expect("a job");
        let want = images(start());
        let total = start().progress().total;
        for steps in 0..=total {
            let mut job = start();
            while job.progress().done < steps {
                job.step().expect("a step");
            }
            // Within the next step, the state is still that of the last complete one.
            job.advance(Duration::ZERO).expect("an op");
            let state = job.state().expect("a state");
            let mut resumed = trunk_decoder().resume(&state).expect("a job");
            assert_eq!(resumed.progress().done, steps);
            assert!(resumed.in_view().is_empty() && resumed.preview().expect("no prediction yet").is_empty());
            assert!(images(resumed) == want, "from step {steps}");
            assert!(images(job) == want, "saving changes nothing");
        }
    }
}

/// Runs in the other process of [`a_job_goes_on_in_another_process`].
#[test]
fn resumed_as_another_process_asks() {
    let [Some(state), Some(output)] = ["PERCEPT_STATE", "PERCEPT_OUTPUT"].map(std::env::var_os) else { return };
    let state = std::fs::read(state).expect("a state");
    let rcdm = Rcdm::open(decoder(), &cpu()).expect("a decoder");
    let pixels: Vec<u8> = images(rcdm.resume(&state).expect("a job")).iter().flat_map(|image| image.to_vec()).collect();
    std::fs::write(output, pixels).expect("a folder to write to");
}

#[test]
fn a_job_goes_on_in_another_process() {
    let rcdm = trunk_decoder();
    let want: Vec<u8> = images(start(&rcdm)).iter().flat_map(|image| image.to_vec()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let mut job = start(&rcdm);
    while job.progress().status == Status::Running {
        let [state, output] = ["state", "output"].map(|name| folder.path().join(name));
        std::fs::write(&state, job.state().expect("a state")).expect("a file");
        let mut other = Command::new(std::env::current_exe().expect("this test"));
        other.args(["--exact", "jobs::resumed_as_another_process_asks"]);
        let run = percept_tests::output(other.env("PERCEPT_STATE", &state).env("PERCEPT_OUTPUT", &output));
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        assert!(std::fs::read(&output).expect("its images") == want, "from step {}", job.progress().done);
        std::fs::remove_file(&output).expect("its images");
        job.step().expect("a step");
    }
}

#[test]
fn states_are_kept_every_so_many_steps() {
    let rcdm = trunk_decoder();
    let want = images(start(&rcdm));
    let mut job = start(&rcdm);
    job.keep_states(2);
    let mut kept = Vec::new();
    while job.step().expect("a step").status == Status::Running {
        kept.push(job.kept().map(|state| rcdm.resume(state).expect("a job").progress().done));
    }
    // The end of a batch of 3 steps is kept in any case.
    assert_eq!(kept, [None, Some(2), Some(3), Some(3), Some(5)]);
    assert!(images(rcdm.resume(job.kept().expect("a state")).expect("a job")) == want);
}

#[test]
fn what_is_no_state_is_named() {
    let rcdm = trunk_decoder();
    let mut job = start(&rcdm);
    job.step().expect("a step");
    let state = job.state().expect("a state");
    let refused = |rcdm: &Rcdm, bytes: &[u8]| match rcdm.resume(bytes) {
        Err(Error::File(mismatch)) => {
            assert!(mismatch.at.starts_with("state of a job"), "{mismatch}");
            mismatch.to_string()
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no error"),
    };
    for length in [0, 7, 8, 20, state.len() / 2, state.len() - 1] {
        refused(&rcdm, &state[..length]);
    }
    refused(&rcdm, b"not a state at all");
    // Header bytes with another content of the same length.
    let with = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let place = state.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
        let mut changed = state.clone();
        changed[place..place + to.len()].copy_from_slice(to.as_bytes());
        changed
    };
    assert!(refused(&rcdm, &with("percept.job", "percept.jab")).contains("percept.job"));
    assert!(refused(&rcdm, &with("\\\"version\\\":1", "\\\"version\\\":2")).contains("version 2"));
    assert!(refused(&rcdm, &with("\\\"batch\\\":2", "\\\"batch\\\":3")).contains("x of 3 images"));
    assert!(refused(&rcdm, &with("\\\"step\\\":1", "\\\"step\\\":3")).contains("a step below 3"));
    // A state of another model with the same configuration.
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.safetensors");
    write_changed(&decoder(), &other, "time_embed.0.bias", 0.5, "time_embed.0.bias");
    let other = Rcdm::open(&other, &cpu()).expect("a decoder");
    assert!(refused(&other, &state).contains("SHA-256"));
}

#[test]
fn a_batch_is_made_small_enough_for_the_memory() {
    let rcdm = Rcdm::open(decoder(), &cpu()).expect("a decoder");
    let needed = |batch| rcdm.estimate(&options().method, batch).expect("an estimate").total();
    let h = representation(&rcdm);
    let start =
        |memory| rcdm.start(&[&h], &SampleOptions { samples: 8, batch: None, memory: Some(memory), ..options() });
    for batch in [1, 2, 4, 8] {
        // 8 samples in batches of this size, with 3 steps each.
        let job = start(needed(batch)).expect("a job");
        assert_eq!(job.progress().total, 8 / batch * 3);
        assert_eq!(job.memory().total(), needed(batch));
    }
    assert!(start(needed(4) - 1).expect("a job").progress().total > 6);
    let Err(Error::OutOfMemory(mismatch)) = start(needed(1) - 1) else { panic!("want an error of memory") };
    assert!(mismatch.expected.contains(&needed(1).to_string()), "{mismatch}");
}
