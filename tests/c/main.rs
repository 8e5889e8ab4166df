//! Tests the C interface: every function alone, called as C calls it, and a C program that uses them together.

mod buffers;
mod header;
mod nulls;
mod options;
mod program;
mod runs;
mod sizes;
mod texts;

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use percept::{Bundle, Device, Method, SampleOptions};
use percept_c::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the path of a file of the demo set.
fn asset(name: &str) -> PathBuf {
    root().join("examples/assets").join(name)
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("a text without 0")
}

/// Returns the path of a file of the demo set, for C.
fn c_asset(name: &str) -> CString {
    c_string(asset(name).to_str().expect("a path in UTF-8"))
}

/// Returns this thread's message.
fn message() -> String {
    // SAFETY: the message is a string of this thread, which makes no other call in the meantime.
    unsafe { CStr::from_ptr(percept_message()) }.to_str().expect("UTF-8").to_owned()
}

#[track_caller]
fn succeeds(status: percept_status) {
    assert_eq!(status, percept_status::Ok, "{}", message());
}

/// Asserts that a call ended with a status and a message that contains all of `saying`.
#[track_caller]
fn fails(status: percept_status, expected: percept_status, saying: &[&str]) {
    let message = message();
    assert_eq!(status, expected, "{message}");
    for part in saying {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// The demo's bundle on the CPU, opened by C's function.
struct Opened(*mut percept_bundle);

impl Opened {
    fn new() -> Self {
        let mut bundle = null_mut();
        // SAFETY: the strings end in 0, and the bundle can be written.
        succeeds(unsafe {
            percept_bundle_open(c_asset("trunk.bundle.json").as_ptr(), c"cpu".as_ptr(), &raw mut bundle)
        });
        Opened(bundle)
    }

    /// Starts a job that samples images of [`representation`].
    fn start(&self, options: &percept_sample_options) -> Started {
        let (h, mut job) = (representation(), null_mut());
        // SAFETY: the bundle is open, the representation has the stated length, and the job can be written.
        succeeds(unsafe { percept_job_start(self.0, h.as_ptr(), h.len(), options, &raw mut job) });
        Started(job)
    }

    /// Resumes a job from a state.
    fn resume(&self, state: &[u8]) -> Started {
        let mut job = null_mut();
        // SAFETY: the bundle is open, the state has the stated length, and the job can be written.
        succeeds(unsafe { percept_job_resume(self.0, state.as_ptr(), state.len(), &raw mut job) });
        Started(job)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: it is open, and no other thread uses it.
        unsafe { percept_bundle_close(self.0) };
    }
}

/// A job that C's function started.
struct Started(*mut percept_job);

impl Started {
    /// Advances the job for a time, and returns its progress.
    fn advance(&self, milliseconds: f64) -> percept_progress {
        let mut progress = unknown();
        // SAFETY: the job was started, and the size of `progress` is filled in.
        succeeds(unsafe { percept_job_advance(self.0, milliseconds, &raw mut progress) });
        progress
    }

    /// Advances the job by one op at a time until this step is done.
    fn advance_to(&self, step: u64) {
        while self.advance(0.0).done < step {}
    }

    /// Runs the job to its end, and returns its progress.
    fn wait(&self) -> percept_progress {
        let mut progress = unknown();
        // SAFETY: the job was started, and the size of `progress` is filled in.
        succeeds(unsafe { percept_job_wait(self.0, &raw mut progress) });
        progress
    }

    /// Returns the bytes of all complete images.
    fn pixels(&self) -> Vec<u8> {
        let mut count = 0;
        // SAFETY: the job was started, and the count can be written.
        succeeds(unsafe { percept_job_images(self.0, &raw mut count, null_mut(), 0) });
        let mut pixels = vec![0; count * 32 * 32 * 3];
        // SAFETY: the same, and the buffer has the stated length.
        succeeds(unsafe { percept_job_images(self.0, &raw mut count, pixels.as_mut_ptr(), pixels.len()) });
        pixels
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: it was started, and no other thread uses it.
        unsafe { percept_job_free(self.0) };
    }
}

/// Returns progress with arbitrary values, except for its size.
fn unknown() -> percept_progress {
    percept_progress { size: size_of::<percept_progress>(), done: 901, total: 902, seconds_left: 903.0, state: 904 }
}

/// Returns options of a run with the defaults of C: fields that are not named are 0.
fn options(samples: u32, steps: u32, batch: u32) -> percept_sample_options {
    percept_sample_options { size: size_of::<percept_sample_options>(), samples, steps, seed: 0, batch, memory: 0 }
}

/// Returns the same options in Rust.
fn rust_options(options: &percept_sample_options) -> SampleOptions {
    SampleOptions {
        samples: options.samples as usize,
        method: Method::ddpm(options.steps as usize),
        seed: options.seed,
        batch: Some(options.batch as usize).filter(|batch| *batch > 0),
        ..SampleOptions::default()
    }
}

/// Opens the demo's bundle on the CPU in Rust.
fn rust_bundle() -> Bundle {
    Bundle::open(asset("trunk.bundle.json"), &Device::cpu().expect("a CPU")).expect("a bundle")
}

/// Returns a representation of the length that the demo's decoder takes.
fn representation() -> Vec<f32> {
    (0..SSL_DIM).map(|index| (index as f32 * 0.7).sin()).collect()
}

/// The number of elements of a representation of the demo's trunk.
const SSL_DIM: usize = 256;

/// Returns the bytes of the images that Rust samples of [`representation`].
fn rust_pixels(options: &percept_sample_options) -> Vec<u8> {
    let images = rust_bundle().rcdm.sample(&representation(), &rust_options(options)).expect("images");
    images.into_iter().flat_map(|image| image.into_raw()).collect()
}
