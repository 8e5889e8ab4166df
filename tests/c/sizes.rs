//! Tests that structures begin with their size in the version that the caller was compiled for. Those of an
//! older version are refused. Of those of a newer version, only the part that this version knows is accessed.

use std::ptr::{from_mut, from_ref, null_mut};

use percept_c::*;

use crate::{Opened, Started, fails, options, representation, succeeds, unknown};

/// A later version's structure.
#[repr(C)]
struct Later<T> {
    known: T,
    later: [u64; 4],
}

const LATER: [u64; 4] = [0xa5a5_a5a5_a5a5_a5a5; 4];

#[test]
fn options_of_an_older_version_are_refused() {
    let (bundle, h, size) = (Opened::new(), representation(), size_of::<percept_sample_options>());
    for small in [0, 8, size / 2, size - 8, size - 1] {
        let (options, mut job) = (percept_sample_options { size: small, ..options(1, 1, 1) }, null_mut());
        // SAFETY: the bundle is open, the representation has the stated length, and the job can be written.
        let status = unsafe { percept_job_start(bundle.0, h.as_ptr(), h.len(), &options, &raw mut job) };
        let expected = format!("says {size} bytes");
        fails(status, percept_status::Argument, &["options", &expected, &format!("got {small}")]);
        assert!(job.is_null());
    }
}

#[test]
fn options_of_a_later_version_are_taken() {
    let (bundle, h, size) = (Opened::new(), representation(), size_of::<percept_sample_options>());
    for size in [size, size + 1, size_of::<Later<percept_sample_options>>(), usize::MAX] {
        let known = percept_sample_options { size, ..options(3, 2, 2) };
        let (later, mut job) = (Later { known, later: LATER }, null_mut());
        let options = from_ref(&later).cast();
        // SAFETY: the bundle is open, the representation has the stated length, and the job can be written.
        succeeds(unsafe { percept_job_start(bundle.0, h.as_ptr(), h.len(), options, &raw mut job) });
        assert_eq!(Started(job).advance(0.0).total, 4, "two batches of two steps");
        assert_eq!(later.later, LATER);
    }
}

/// percept_job_advance and percept_job_wait.
type Call = unsafe fn(*mut percept_job, *mut percept_progress) -> percept_status;

unsafe fn advance_by_a_minute(job: *mut percept_job, progress: *mut percept_progress) -> percept_status {
    // SAFETY: the caller upholds the contract.
    unsafe { percept_job_advance(job, 60_000.0, progress) }
}

unsafe fn wait(job: *mut percept_job, progress: *mut percept_progress) -> percept_status {
    // SAFETY: the caller upholds the contract.
    unsafe { percept_job_wait(job, progress) }
}

const CALLS: [(&str, Call); 2] = [("advance", advance_by_a_minute), ("wait", wait)];

#[test]
fn progress_of_an_older_version_is_refused_before_anything_is_done() {
    let (bundle, size) = (Opened::new(), size_of::<percept_progress>());
    for (name, call) in CALLS {
        let job = bundle.start(&options(1, 2, 1));
        for small in [0, 8, size / 2, size - 8, size - 1] {
            let mut progress = percept_progress { size: small, ..unknown() };
            // SAFETY: the job was started, and all of `progress` can be written.
            let status = unsafe { call(job.0, &raw mut progress) };
            let expected = format!("says {size} bytes");
            fails(status, percept_status::Argument, &["progress", &expected, &format!("got {small}")]);
            let untouched = format!("{:?}", percept_progress { size: small, ..unknown() });
            assert_eq!(format!("{progress:?}"), untouched, "{name}");
        }
        assert_eq!(job.advance(0.0).done, 0, "{name}: no step was taken");
    }
}

#[test]
fn progress_of_a_later_version_is_told_what_this_one_knows() {
    let (bundle, size) = (Opened::new(), size_of::<percept_progress>());
    for size in [size, size + 1, size_of::<Later<percept_progress>>(), usize::MAX] {
        for (name, call) in CALLS {
            let job = bundle.start(&options(1, 2, 1));
            let mut later = Later { known: percept_progress { size, ..unknown() }, later: LATER };
            // SAFETY: the job was started, and all of `later` can be written.
            succeeds(unsafe { call(job.0, from_mut(&mut later).cast()) });
            let told = later.known;
            assert_eq!((told.size, told.done, told.total, told.state), (size, 2, 2, PERCEPT_DONE), "{name}");
            assert_eq!(later.later, LATER, "{name}");
        }
    }
}
