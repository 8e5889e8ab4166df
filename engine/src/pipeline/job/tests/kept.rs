//! States that are kept, when the device fails.

use std::ops::ControlFlow;
use std::time::Duration;

use super::*;
use crate::{Error, Result};

/// Takes a job a bit further; whether it is still running.
type Drive = fn(&mut Job) -> Result<ControlFlow<()>>;

fn running(job: &Job) -> ControlFlow<()> {
    if job.is_running() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

const DRIVES: [(&str, Drive); 3] = [
    ("advance", |job| {
        job.advance(Duration::from_millis(2))?;
        clock::advance(Duration::from_millis(1));
        Ok(running(job))
    }),
    ("step", |job| {
        job.step()?;
        Ok(running(job))
    }),
    ("look", |job| {
        job.advance(Duration::from_secs(1))?;
        job.preview()?;
        job.state()?;
        Ok(running(job))
    }),
];

/// Loads a new device, on which at most two slices are under way.
fn load_anew(decoder: &Decoder, is_host: bool) -> FakeDevice {
    let device = load(decoder, is_host, uneven);
    device.state().most = 2;
    device
}

/// Drives a job to its end.
fn drive(job: &mut Job, drive: Drive) -> Result<()> {
    // More than it takes, many times.
    for _ in 0..10_000 {
        if drive(job)?.is_break() {
            return Ok(());
        }
    }
    panic!("a hang: {:?}", job.progress())
}

#[test]
fn the_state_that_is_kept_is_where_the_job_is_whichever_call_fails() {
    let decoder = decoder();
    load_anew(&decoder, true);
    let want = images(start(&decoder, &options()));
    assert!(want.len() == 3 && want[0] != want[1] && want[1] != want[2]);
    for is_host in [true, false] {
        for (name, way) in DRIVES {
            for every in [1, 2] {
                for calls in 0.. {
                    let device = load_anew(&decoder, is_host);
                    let mut job = start(&decoder, &options());
                    job.keep_states(every);
                    device.state().calls = 0;
                    device.state().succeeds = Some(calls);
                    let driven = drive(&mut job, way);
                    let done = job.progress().done;
                    let at = format!("{name}, every {every}, {calls} calls, {done} steps");

                    load_anew(&decoder, is_host);
                    // Of a batch of three steps, the last that was to be kept.
                    let want_kept = done / 3 * 3 + done % 3 / every * every;
                    let resumed = match job.kept() {
                        Some(state) => decoder.resume(state).expect("a job"),
                        None => start(&decoder, &options()),
                    };
                    assert_eq!(resumed.progress().done, want_kept, "{at}");
                    assert!(images(resumed) == want, "{at}");
                    match driven {
                        Err(error) => assert!(matches!(error, Error::DeviceLost(_)), "{at}: {error}"),
                        Ok(()) => {
                            assert!(done == 6 && job.images() == want && calls > 60, "{at}");
                            break;
                        }
                    }
                }
            }
        }
    }
}
