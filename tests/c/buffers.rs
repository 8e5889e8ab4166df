//! Tests that a caller's buffer is written if the result fits, and nowhere else.

use std::fmt::Debug;
use std::ptr::null_mut;

use percept::images;
use percept_c::*;

use crate::{Opened, asset, c_asset, fails, options, representation, rust_bundle, rust_options, rust_pixels, succeeds};

/// The number of elements of a buffer beyond the part that a call may write.
const BEYOND: usize = 8;

/// Lets `call` write into buffers whose stated length is too short, exact, or longer. The buffers are in fact
/// longer than stated, and hold `canary` everywhere.
fn check_lengths<T>(name: &str, want: &[T], canary: T, mut call: impl FnMut(*mut T, usize) -> percept_status)
where
    T: Copy + Debug + PartialEq,
{
    for length in [0, 1, want.len() / 2, want.len() - 1, want.len(), want.len() + 1, want.len() + BEYOND] {
        let mut buffer = vec![canary; want.len() + BEYOND];
        let status = call(buffer.as_mut_ptr(), length);
        let written = if length < want.len() {
            let room = format!("room for {} elements", want.len());
            fails(status, percept_status::Argument, &[name, &room, &format!("got {length}")]);
            0
        } else {
            succeeds(status);
            want.len()
        };
        assert!(buffer[..written] == want[..written], "{name}: not what Rust gives, for a length of {length}");
        let odd = buffer[written..].iter().position(|element| *element != canary);
        assert_eq!(odd, None, "{name}: written beyond element {written} of a buffer of {length}");
    }
}

#[test]
fn a_representation_is_written_if_it_fits() {
    let picture = images::open(asset("images/4_star.png")).expect("a picture");
    let want = rust_bundle().encoder.encode(&picture).expect("a representation");
    let (bundle, path) = (Opened::new(), c_asset("images/4_star.png"));
    check_lengths("representation", &want, -7.25, |representation, length| {
        // SAFETY: the bundle is open, the path ends in 0, and the buffer is longer than stated.
        unsafe { percept_encode_file(bundle.0, path.as_ptr(), representation, length) }
    });
}

#[test]
fn images_are_written_if_all_of_them_fit() {
    // Two batches: no image is complete at first, then those of the first batch, then all.
    let (bundle, options) = (Opened::new(), options(2, 2, 1));
    let (job, want) = (bundle.start(&options), rust_pixels(&options));
    let check = |images: usize| {
        let want = &want[..images * want.len() / 2];
        check_lengths("pixels", want, 0xa5, |pixels, length| {
            let mut count = 99;
            // SAFETY: the job was started, the count can be written, and the buffer is longer than stated.
            let status = unsafe { percept_job_images(job.0, &raw mut count, pixels, length) };
            assert_eq!(count, images, "also where there is no room for them");
            status
        });
    };

    let (mut count, mut pixel) = (99, 7);
    // SAFETY: the job was started, and a number and a byte can be written.
    succeeds(unsafe { percept_job_images(job.0, &raw mut count, &raw mut pixel, 0) });
    assert_eq!((count, pixel), (0, 7));
    job.advance_to(2);
    check(1);
    job.wait();
    check(2);
    // Without a buffer for pixels, the images are counted, whatever the length.
    for length in [0, 1, usize::MAX] {
        // SAFETY: the job was started, and the count can be written.
        succeeds(unsafe { percept_job_images(job.0, &raw mut count, null_mut(), length) });
        assert_eq!(std::mem::take(&mut count), 2);
    }
}

#[test]
fn a_state_is_written_if_it_fits() {
    let (bundle, options) = (Opened::new(), options(1, 3, 1));
    let mut rust_job = rust_bundle().rcdm.start(&[&representation()], &rust_options(&options)).expect("a job");
    rust_job.step().expect("a step");
    let want = rust_job.state().expect("a state");

    let job = bundle.start(&options);
    job.advance_to(1);
    check_lengths("state", &want, 0xa5, |state, capacity| {
        let mut length = 99;
        // SAFETY: the job was started, the length can be written, and the buffer is longer than stated.
        let status = unsafe { percept_job_state(job.0, &raw mut length, state, capacity) };
        assert_eq!(length, want.len(), "also where there is no room for it");
        status
    });
    for capacity in [0, 1, usize::MAX] {
        let mut length = 99;
        // SAFETY: the job was started, and the length can be written.
        succeeds(unsafe { percept_job_state(job.0, &raw mut length, null_mut(), capacity) });
        assert_eq!(length, want.len());
    }
}

#[test]
fn a_representation_of_another_length_is_refused() {
    let bundle = Opened::new();
    let h: Vec<f32> = representation().into_iter().chain([0.5]).collect();
    for length in [0, h.len() - 2, h.len()] {
        let mut job = null_mut();
        // SAFETY: the bundle is open, the representation has at least `length` elements, and the job can be
        // written.
        let status = unsafe { percept_job_start(bundle.0, h.as_ptr(), length, &options(1, 1, 1), &raw mut job) };
        fails(status, percept_status::Argument, &["representation", "256 elements", &format!("got {length}")]);
        assert!(job.is_null());
    }
}

#[test]
fn a_state_of_another_length_is_refused() {
    let bundle = Opened::new();
    let mut rust_job = rust_bundle().rcdm.start(&[&representation()], &rust_options(&options(1, 3, 1))).expect("a job");
    rust_job.step().expect("a step");
    let mut state = rust_job.state().expect("a state");
    state.push(0);
    for length in [0, 7, state.len() / 2, state.len() - 2, state.len()] {
        let mut job = null_mut();
        // SAFETY: the bundle is open, the state has at least `length` bytes, and the job can be written.
        let status = unsafe { percept_job_resume(bundle.0, state.as_ptr(), length, &raw mut job) };
        fails(status, percept_status::File, &["state of a job"]);
        assert!(job.is_null());
    }
    let job = bundle.resume(&state[..state.len() - 1]);
    assert_eq!(job.wait().state, PERCEPT_DONE);
    assert!(job.pixels() == rust_pixels(&options(1, 3, 1)));
}

#[test]
fn a_length_that_no_memory_has_is_refused() {
    let (bundle, h, mut job) = (Opened::new(), representation(), null_mut());
    for length in [usize::MAX, isize::MAX as usize + 1] {
        let said = format!("got {length}");
        // SAFETY: the bundle is open, and the job can be written. The test is about the wrong length.
        let status = unsafe { percept_job_start(bundle.0, h.as_ptr(), length, &options(1, 1, 1), &raw mut job) };
        fails(status, percept_status::Argument, &["representation", &said]);
        // SAFETY: the same.
        let status = unsafe { percept_job_resume(bundle.0, h.as_ptr().cast(), length, &raw mut job) };
        fails(status, percept_status::Argument, &["state", &said]);
    }
    assert!(job.is_null());
}
