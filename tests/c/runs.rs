//! Tests runs: their progress, how they stop, and the lifetimes of jobs and bundles.

use percept_c::*;

use crate::{Opened, fails, options, rust_pixels, unknown};

#[test]
fn a_time_that_is_none_is_refused_before_anything_is_done() {
    let bundle = Opened::new();
    let job = bundle.start(&options(1, 2, 1));
    for milliseconds in [f64::NAN, -1.0, -1e-6, f64::NEG_INFINITY, f64::INFINITY, 1e300] {
        let mut progress = unknown();
        // SAFETY: the job was started, and the size of `progress` is filled in.
        let status = unsafe { percept_job_advance(job.0, milliseconds, &raw mut progress) };
        fails(status, percept_status::Argument, &["milliseconds", &format!("got {milliseconds}")]);
        assert_eq!((progress.done, progress.total, progress.state), (901, 902, 904), "{milliseconds}");
    }
    assert_eq!(job.advance(0.0).done, 0, "no step was taken");
}

#[test]
fn a_time_is_in_milliseconds() {
    let bundle = Opened::new();
    let job = bundle.start(&options(1, 1000, 1));
    let begun = job.advance(0.0);
    assert_eq!((begun.done, begun.total, begun.state), (0, 1000, PERCEPT_RUNNING));
    assert_eq!(begun.seconds_left, -1.0, "nothing is known before the first step");
    // After two steps the time of each op is known, so a second would be enough for many steps.
    job.advance_to(2);
    let done = job.advance(1.0).done;
    assert!(done <= 3, "{} steps in a millisecond", done - 2);
    let job = bundle.start(&options(1, 3, 1));
    let over = job.advance(600_000.0);
    assert_eq!((over.done, over.total, over.state), (3, 3, PERCEPT_DONE), "ten minutes are enough");
    assert_eq!(over.seconds_left, 0.0);
}

#[test]
fn a_run_that_was_cancelled_ends_with_the_images_that_are_whole() {
    let bundle = Opened::new();
    let options = options(3, 2, 1);
    let job = bundle.start(&options);
    job.advance_to(3);
    // SAFETY: the job was started.
    crate::succeeds(unsafe { percept_job_cancel(job.0) });
    for progress in [job.advance(600_000.0), job.wait()] {
        assert_eq!((progress.done, progress.total, progress.state), (3, 6, PERCEPT_CANCELLED));
    }
    let pixels = job.pixels();
    assert!(pixels == rust_pixels(&options)[..32 * 32 * 3]);
}

#[test]
fn a_job_outlives_its_bundle() {
    let bundle = Opened::new();
    let options = options(2, 2, 1);
    let job = bundle.start(&options);
    drop(bundle);
    let progress = job.wait();
    assert_eq!((progress.done, progress.total, progress.state), (4, 4, PERCEPT_DONE));
    assert!(job.pixels() == rust_pixels(&options));
}
