//! Tests null for every pointer that C may pass: the error names the pointer and nothing else is written, or
//! the call does nothing.

use std::ptr::{dangling_mut, null, null_mut};

use percept_c::*;

use crate::{Opened, c_asset, fails, options, representation, succeeds};

/// The name of a pointer, and a call with null for it.
type Call<'a> = (&'a str, &'a mut dyn FnMut() -> percept_status);

#[track_caller]
fn all_are_refused(calls: &mut [Call<'_>]) {
    for (name, call) in calls {
        fails(call(), percept_status::Argument, &[&format!("{name}: expected a "), "got null"]);
    }
}

#[test]
fn a_bundle_is_opened_only_with_all_pointers() {
    let path = c_asset("trunk.bundle.json");
    let (path, device) = (path.as_ptr(), c"cpu".as_ptr());
    let mut bundle: *mut percept_bundle = dangling_mut();
    let to = &raw mut bundle;
    // SAFETY: the strings end in 0. The test is about null.
    unsafe {
        all_are_refused(&mut [
            ("path", &mut || percept_bundle_open(null(), device, to)),
            ("device", &mut || percept_bundle_open(path, null(), to)),
            ("bundle", &mut || percept_bundle_open(path, device, null_mut())),
        ]);
    }
    assert_eq!(bundle, dangling_mut());
}

#[test]
fn a_bundle_is_asked_only_with_all_pointers() {
    let (bundle, picture) = (Opened::new(), c_asset("images/4_star.png"));
    let (path, mut numbers, mut h) = (picture.as_ptr(), [98, 99], [-7.25; 256]);
    let [length, size] = numbers.each_mut().map(|number| &raw mut *number);
    let (to, room) = (h.as_mut_ptr(), h.len());
    // SAFETY: the bundle is open, the path ends in 0, and the other pointers can be written to. The test is
    // about null.
    unsafe {
        all_are_refused(&mut [
            ("bundle", &mut || percept_bundle_sizes(null(), length, size)),
            ("length", &mut || percept_bundle_sizes(bundle.0, null_mut(), size)),
            ("image_size", &mut || percept_bundle_sizes(bundle.0, length, null_mut())),
            ("bundle", &mut || percept_encode_file(null_mut(), path, to, room)),
            ("path", &mut || percept_encode_file(bundle.0, null(), to, room)),
        ]);
        for length in [0, 256, usize::MAX] {
            let status = percept_encode_file(bundle.0, path, null_mut(), length);
            fails(status, percept_status::Argument, &["representation", "room for 256 elements"]);
        }
    }
    assert_eq!(numbers, [98, 99]);
    assert_eq!(h, [-7.25; 256]);

    // SAFETY: the bundle is open, and both numbers can be written.
    succeeds(unsafe { percept_bundle_sizes(bundle.0, length, size) });
    assert_eq!(numbers, [256, 32]);
}

#[test]
fn a_job_is_started_only_with_all_pointers() {
    let (bundle, h, options, state) = (Opened::new(), representation(), options(1, 1, 1), [0u8; 8]);
    let mut job: *mut percept_job = dangling_mut();
    let (first, length, to) = (h.as_ptr(), h.len(), &raw mut job);
    // SAFETY: the bundle is open, lengths are as stated, and the job can be written. The test is about null.
    unsafe {
        all_are_refused(&mut [
            ("bundle", &mut || percept_job_start(null(), first, length, &options, to)),
            ("representation", &mut || percept_job_start(bundle.0, null(), length, &options, to)),
            ("representation", &mut || percept_job_start(bundle.0, null(), 0, &options, to)),
            ("options", &mut || percept_job_start(bundle.0, first, length, null(), to)),
            ("job", &mut || percept_job_start(bundle.0, first, length, &options, null_mut())),
            ("bundle", &mut || percept_job_resume(null(), state.as_ptr(), 8, to)),
            ("state", &mut || percept_job_resume(bundle.0, null(), 8, to)),
            ("state", &mut || percept_job_resume(bundle.0, null(), 0, to)),
            ("job", &mut || percept_job_resume(bundle.0, state.as_ptr(), 8, null_mut())),
        ]);
    }
    assert_eq!(job, dangling_mut());
}

#[test]
fn a_job_goes_on_only_with_all_pointers_but_that_of_progress() {
    let bundle = Opened::new();
    let job = bundle.start(&options(1, 2, 1));
    let (mut progress, mut number, mut byte) = (crate::unknown(), 99, 7);
    let (told, to, pixel) = (&raw mut progress, &raw mut number, &raw mut byte);
    // SAFETY: the job was started, and the other pointers can be written to. The test is about null.
    unsafe {
        all_are_refused(&mut [
            ("job", &mut || percept_job_advance(null_mut(), 1.0, told)),
            ("job", &mut || percept_job_wait(null_mut(), told)),
            ("job", &mut || percept_job_cancel(null())),
            ("job", &mut || percept_job_images(null(), to, pixel, 1)),
            ("count", &mut || percept_job_images(job.0, null_mut(), pixel, 1)),
            ("job", &mut || percept_job_state(null_mut(), to, pixel, 1)),
            ("length", &mut || percept_job_state(job.0, null_mut(), pixel, 1)),
        ]);
    }
    assert_eq!((progress.done, progress.state, number, byte), (901, 904, 99, 7));

    // SAFETY: the job was started.
    succeeds(unsafe { percept_job_advance(job.0, 60_000.0, null_mut()) });
    assert_eq!(job.advance(0.0).done, 2, "both steps were taken all the same");
    // SAFETY: the job was started.
    succeeds(unsafe { percept_job_wait(job.0, null_mut()) });
}

#[test]
fn nothing_is_closed_or_freed_for_null() {
    // SAFETY: the test is about null.
    unsafe {
        percept_bundle_close(null_mut());
        percept_job_free(null_mut());
    }
}
