//! Tests sample options: each number, small or large, is used as given or refused.

use std::ptr::null_mut;

use percept::Method;
use percept_c::*;

use crate::{Opened, Started, fails, options, representation, rust_bundle, rust_pixels, succeeds};

#[test]
fn a_seed_has_64_bits() {
    let bundle = Opened::new();
    let pixels = |seed: u64| {
        let options = percept_sample_options { seed, ..options(1, 2, 1) };
        let job = bundle.start(&options);
        job.wait();
        let pixels = job.pixels();
        assert!(pixels == rust_pixels(&options), "seed {seed}: other images than Rust's");
        pixels
    };
    let all = [0, 7, 7 + (1 << 32), 7 + (1 << 63), u64::MAX].map(pixels);
    for (at, pixels) in all.iter().enumerate() {
        assert!(!all[..at].contains(pixels), "seed {at} gives the images of another");
    }
}

/// The result of a run: its number of steps, or a status and a part of the message.
type Outcome = Result<u64, (percept_status, &'static str)>;

#[test]
fn numbers_are_honoured_or_refused() {
    use percept_status::{Argument, OutOfMemory};
    let memory_of = |batch: usize| {
        let memory = rust_bundle().rcdm.estimate(&Method::ddpm(2), batch).expect("an estimate");
        memory.total() as u64
    };
    let (bundle, one, two, most) = (Opened::new(), memory_of(1), memory_of(2), u32::MAX);
    let table: &[(u32, u32, u32, u64, Outcome)] = &[
        // samples, steps, batch, memory
        (1, 1, 0, 0, Ok(1)),
        (5, 2, 0, 0, Ok(2)),
        (16, 2, 0, 0, Ok(2)),
        (17, 2, 0, 0, Ok(4)),
        (5, 2, 1, 0, Ok(10)),
        (5, 2, 2, 0, Ok(6)),
        (5, 2, 5, 0, Ok(2)),
        (5, 2, most, 0, Ok(2)),
        (0, 2, 1, 0, Err((Argument, "samples"))),
        (most, 2, 1, 0, Ok(2 * u64::from(most))),
        (most, 2, most, 0, Err((Argument, "4294967295 elements"))),
        (1, 0, 1, 0, Err((Argument, "timestep_respacing"))),
        (1, 1000, 1, 0, Ok(1000)),
        (1, 1001, 1, 0, Err((Argument, "timestep_respacing"))),
        (1, most, 1, 0, Err((Argument, "timestep_respacing"))),
        (4, 2, 4, 1, Err((OutOfMemory, "memory"))),
        (4, 2, 4, one - 1, Err((OutOfMemory, "memory"))),
        (4, 2, 4, one, Ok(8)),
        (4, 2, 4, two - 1, Ok(8)),
        (4, 2, 4, two, Ok(4)),
        // More than 32 bits, of which the lower 32 alone would be too few.
        (4, 2, 4, (1 << 32) + 1, Ok(2)),
        (4, 2, 4, u64::MAX, Ok(2)),
    ];
    let h = representation();
    for &(samples, steps, batch, memory, ref expected) in table {
        let options = percept_sample_options { memory, ..options(samples, steps, batch) };
        let mut job = null_mut();
        // SAFETY: the bundle is open, the representation has the stated length, and the job can be written.
        let status = unsafe { percept_job_start(bundle.0, h.as_ptr(), h.len(), &options, &raw mut job) };
        match expected {
            Ok(total) => {
                succeeds(status);
                let progress = Started(job).advance(0.0);
                assert_eq!((progress.done, progress.total), (0, *total), "{options:?}");
            }
            Err((expected, saying)) => {
                fails(status, *expected, &[saying]);
                assert!(job.is_null(), "{options:?}");
            }
        }
    }
}

#[test]
fn a_representation_that_is_not_finite_is_refused() {
    let (bundle, mut h, mut job) = (Opened::new(), representation(), null_mut());
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        h[255] = value;
        // SAFETY: the bundle is open, the representation has the stated length, and the job can be written.
        let status = unsafe { percept_job_start(bundle.0, h.as_ptr(), h.len(), &options(1, 1, 1), &raw mut job) };
        fails(status, percept_status::NotFinite, &["representation"]);
        assert!(job.is_null());
    }
}
