//! Tests sampling runs: progress, stopping, and options that are refused.

use std::ops::ControlFlow;

use percept::diffusion::Sampler;
use percept::{Error, Result};
use percept::{Method, Rcdm, SampleOptions, Status};
use percept_tests::{SplitMix, golden_model, write_synthetic};

use crate::model_files::{cpu, trunk_decoder};

fn options(samples: usize, batch: usize) -> SampleOptions {
    SampleOptions { samples, method: Method::ddim(2), seed: 1, batch: Some(batch), ..SampleOptions::default() }
}

fn representation(rcdm: &Rcdm) -> Vec<f32> {
    SplitMix::new(1).floats(rcdm.config().ssl_dim)
}

/// Returns the kind of an error, and its place, expected and given value.
fn parts<T>(result: Result<T>) -> (&'static str, [String; 3]) {
    let (kind, mismatch) = match result {
        Err(Error::Shape(mismatch)) => ("shape", mismatch),
        Err(Error::Config(mismatch)) => ("config", mismatch),
        Err(Error::NotFinite(mismatch)) => ("not finite", mismatch),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no error"),
    };
    (kind, [mismatch.at, mismatch.expected, mismatch.got])
}

#[test]
fn progress_is_reported_after_each_step() {
    let rcdm = trunk_decoder();
    let h = representation(&rcdm);
    let mut seen = Vec::new();
    // 2 representations of 3 samples in batches of 4: 2 batches of 3, of 2 steps each.
    let rows = rcdm.sample_all(&[&h, &h], &options(3, 4), &mut |job| {
        let progress = job.progress();
        seen.push((progress.done, progress.total, progress.status));
        ControlFlow::Continue(())
    });
    assert_eq!(rows.expect("pictures").iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    let last = (4, 4, Status::Done);
    assert_eq!(seen, [(1, 4, Status::Running), (2, 4, Status::Running), (3, 4, Status::Running), last]);
}

#[test]
fn a_run_that_is_stopped_gives_the_images_that_are_whole() {
    let rcdm = trunk_decoder();
    let h = representation(&rcdm);
    let stopped_after = |steps: usize| {
        let rows = rcdm.sample_all(&[&h, &h], &options(2, 1), &mut |job| {
            if job.progress().done == steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        rows.expect("pictures")
    };
    let whole = stopped_after(usize::MAX);
    // 4 batches of one sample, 2 steps each.
    for (steps, first, second) in [(1, 0, 0), (2, 1, 0), (3, 1, 0), (4, 2, 0), (5, 2, 0), (7, 2, 1), (8, 2, 2)] {
        let rows = stopped_after(steps);
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [first, second], "after {steps} steps");
        assert!(rows[0] == whole[0][..first] && rows[1] == whole[1][..second], "after {steps} steps");
    }
    assert!(stopped_after(usize::MAX) == whole, "after a run that was stopped");
}

#[test]
fn what_cannot_be_sampled_is_named() {
    let rcdm = trunk_decoder();
    let h = representation(&rcdm);
    let with = |place: usize, value: f32| {
        let mut h = h.clone();
        h[place] = value;
        h
    };
    let good = options(1, 1);
    let respaced = |respacing: &str| SampleOptions {
        method: Method { steps: respacing.into(), ..Method::ddim(2) },
        ..good.clone()
    };
    let eta = |eta: f64| SampleOptions {
        method: Method { sampler: Sampler::Ddim { eta }, ..Method::ddim(2) },
        ..good.clone()
    };
    let elements = "256 elements, as the decoder was trained on";
    let cases = [
        (h[..255].to_vec(), good.clone(), "shape", "representation", elements, "255"),
        (vec![0.0; 257], good.clone(), "shape", "representation", elements, "257"),
        (Vec::new(), good.clone(), "shape", "representation", elements, "0"),
        (with(7, f32::NAN), good.clone(), "not finite", "representation", "finite values", "NaN at element 7"),
        (with(255, f32::INFINITY), good.clone(), "not finite", "representation", "finite values", "inf at element 255"),
        (h.clone(), options(0, 1), "config", "samples and batch", "1 or more", "0"),
        (h.clone(), options(1, 0), "config", "samples and batch", "1 or more", "0"),
        (h.clone(), SampleOptions { class: Some(0), ..good.clone() }, "config", "class", "not class-conditional", "0"),
        (h.clone(), respaced("ddim999"), "config", "timestep_respacing", "ddim500 and ddim1000", "ddim999"),
        (h.clone(), respaced("1001"), "config", "timestep_respacing", "at most 1000 steps", "1001"),
        (h.clone(), respaced("ddim"), "config", "timestep_respacing", "as in \"ddim25\"", "ddim"),
        (h.clone(), respaced("0"), "config", "timestep_respacing", "at least one step", "0"),
        (h.clone(), respaced("many"), "config", "timestep_respacing", "numbers of steps", "many"),
        (h.clone(), eta(1.5), "config", "eta", "a number from 0 to 1", "1.5"),
        (h.clone(), eta(f64::NAN), "config", "eta", "a number from 0 to 1", "NaN"),
    ];
    let want = rcdm.sample(&h, &good).expect("a picture");
    for (h, options, kind, at, expected, got) in &cases {
        let (told_kind, told) = parts(rcdm.sample(h, options));
        assert_eq!((told_kind, told[0].as_str()), (*kind, *at), "{told:?}");
        assert!(told[1].contains(expected) && told[2].contains(got), "{told:?}: want {expected}, {got}");
    }
    // The second representation is checked as well, and no error has a lasting effect.
    let second = with(3, f32::NAN);
    let all = rcdm.sample_all(&[&h, &second], &options(2, 4), &mut |_| ControlFlow::Continue(()));
    assert_eq!(parts(all).1[0], "representation");
    assert!(rcdm.sample(&h, &good).expect("a picture") == want);
}

#[test]
fn counts_of_samples_that_nothing_can_hold_are_refused() {
    let rcdm = trunk_decoder();
    let h = representation(&rcdm);
    for samples in [1 << 32, usize::MAX] {
        let all = rcdm.sample_all(&[&h, &h], &options(samples, 1), &mut |_| ControlFlow::Continue(()));
        let (kind, told) = parts(all);
        assert_eq!((kind, told[0].as_str()), ("config", "samples"), "{told:?}");
    }
}

#[test]
fn without_representations_there_are_no_pictures() {
    let rcdm = trunk_decoder();
    for batch in [Some(1), None] {
        let options = SampleOptions { batch, ..options(2, 1) };
        let rows = rcdm.sample_all(&[], &options, &mut |_| ControlFlow::Continue(()));
        assert_eq!(rows.expect("no rows").len(), 0);
    }
}

#[test]
fn a_class_is_given_where_the_model_wants_one() {
    let (config, weights) = golden_model("unet_adm_classcond_32");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("classes.safetensors");
    write_synthetic(&path, "unet", &config, &weights);
    let rcdm = Rcdm::open(&path, &cpu()).expect("a decoder");
    let classes = rcdm.config().classes() as u32;
    assert!(classes > 1 && rcdm.config().ssl_dim == 0);
    let of = |class| rcdm.sample(&[], &SampleOptions { class, ..options(1, 1) });
    let pictures = [0, classes - 1].map(|class| of(Some(class)).expect("a picture"));
    assert!(pictures[0] != pictures[1]);
    let range = format!("0 to {}", classes - 1);
    let (kind, told) = parts(of(None));
    assert_eq!(
        (kind, &told),
        ("config", &["class".to_string(), format!("{range}: the model wants one"), "none".into()])
    );
    for class in [classes, u32::MAX] {
        let (kind, told) = parts(of(Some(class)));
        assert_eq!((kind, &told), ("config", &["class".to_string(), range.clone(), class.to_string()]));
    }
    // A state without any representation.
    let mut job = rcdm.start(&[&[]], &SampleOptions { class: Some(0), ..options(1, 1) }).expect("a job");
    job.step().expect("a step");
    let resumed = rcdm.resume(&job.state().expect("a state")).expect("a job");
    assert!(resumed.progress().done == 1 && resumed.finish().expect("pictures").concat() == pictures[0]);
}

/// A file holds any number of representations without elements, so its size limits nothing.
#[test]
fn a_state_has_a_limited_number_of_empty_representations() {
    let (config, weights) = golden_model("unet_adm_classcond_32");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("classes.safetensors");
    write_synthetic(&path, "unet", &config, &weights);
    let rcdm = Rcdm::open(&path, &cpu()).expect("a decoder");
    let state = |rows: usize| {
        let options = SampleOptions { class: Some(0), ..options(1, 1) };
        rcdm.start(&vec![&[][..]; rows], &options).expect("a job").state().expect("a state")
    };
    let most = 1 << 20;
    assert_eq!(rcdm.resume(&state(most)).expect("a job").samples(), most);
    match rcdm.resume(&state(most + 1)) {
        Err(Error::File(mismatch)) => assert!(mismatch.expected.contains("representations"), "{mismatch}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no error"),
    }
}
