//! Tests of the states that a job keeps in case the device fails.

use std::ops::ControlFlow;
use std::time::Duration;

use super::*;
use crate::{Error, Result};

/// A function that advances a job a bit, and breaks when the job is no longer running.
type Drive = fn(&mut Job) -> Result<ControlFlow<()>>;

fn running(job: &Job) -> ControlFlow<()> {
    if job.is_running() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

const DRIVES: [(&str, Drive); 3] = [
    ("advance", |job| {
        job.advance(Duration::from_millis(4))?;
        clock::advance(Duration::from_millis(3));
        Ok(running(job))
    }),
    ("step", |job| {
        job.step()?;
        Ok(running(job))
    }),
    ("look", |job| {
        job.advance(Duration::from_secs(1))?;
        clock::advance(Duration::from_millis(20));
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
    // Far more calls than needed.
    for _ in 0..5000 {
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
    let [advance, step, look] = DRIVES;
    for (is_host, every, (name, way)) in
        [(false, 1, advance), (false, 1, look), (false, 1, step), (false, 2, step), (true, 1, step), (true, 2, step)]
    {
        // States that were already resumed, with the steps that they contain.
        let mut known: Vec<(Vec<u8>, usize)> = Vec::new();
        for calls in 0.. {
            let device = load_anew(&decoder, is_host);
            let mut job = start(&decoder, &options());
            job.keep_states(every);
            device.state().calls = 0;
            device.state().succeeds = Some(calls);
            let driven = drive(&mut job, way);
            let done = job.progress().done;
            let at = format!("{name}, every {every}, {calls} calls, {done} steps");

            let kept = match job.kept() {
                Some(state) => match known.iter().find(|(known, _)| known == state) {
                    Some((_, done)) => *done,
                    None => {
                        load_anew(&decoder, is_host);
                        let resumed = Job::resume(&decoder, state).expect("a job");
                        let done = resumed.progress().done;
                        assert!(images(resumed) == want, "{at}");
                        known.push((state.to_vec(), done));
                        done
                    }
                },
                None => 0,
            };
            // All steps of complete batches of three, and in the current batch the last multiple of `every`.
            assert_eq!(kept, done / 3 * 3 + done % 3 / every * every, "{at}");
            match driven {
                Err(error) => assert!(matches!(error, Error::DeviceLost(_)), "{at}: {error}"),
                Ok(()) => {
                    assert!(done == 6 && job.images() == want && calls > 30, "{at}");
                    break;
                }
            }
        }
    }
}
