//! Tests of the progress that a job reports.

use std::time::Duration;

use super::*;
use crate::sampling::start::Start;

/// Takes some steps of a job.
fn take(job: &mut Job, steps: usize) {
    for _ in 0..steps {
        job.step().expect("a step");
    }
}

/// Steps a job to its end, and checks the time left after each step.
#[track_caller]
fn assert_left(mut job: Job, want: &[Option<Duration>]) {
    assert_eq!(job.progress().left, None);
    for (index, want) in want.iter().enumerate() {
        let left = job.step().expect("a step").left;
        let difference = left.zip(*want).map(|(left, want)| left.abs_diff(want));
        let is_right = left.is_some() == want.is_some() && difference.unwrap_or_default() < Duration::from_micros(1);
        assert!(is_right, "after {} steps: {left:?}, want {want:?}", index + 1);
    }
    assert_eq!(job.progress().status, Status::Done);
}

#[test]
fn the_time_left_is_the_steps_left_times_their_mean_time() {
    let decoder = decoder();
    let time_of_op = |op: usize| Duration::from_micros(100 + op as u64);
    let device = load(&decoder, true, time_of_op);
    let job = start(&decoder, &options());
    let program = job.loaded.executor.program();
    let (prologue, step) = (device.time(program.prologue()), device.time(program.body()));
    // The prologue of the second batch runs between the third step and the fourth. The first step is not counted,
    // because shaders may have been compiled during it.
    let mean = |steps: u32| (step * steps + prologue) / steps;
    assert_left(job, &[None, Some(step * 4), Some(step * 3), Some(mean(3) * 2), Some(mean(4)), Some(Duration::ZERO)]);

    let resumed_after = |steps: usize| {
        load(&decoder, true, time_of_op);
        let mut job = start(&decoder, &options());
        take(&mut job, steps);
        let state = job.state().expect("a state");
        // The time between saving and resuming is not counted.
        clock::advance(Duration::from_secs(1000));
        load(&decoder, true, time_of_op);
        Job::resume(&decoder, &state).expect("a job")
    };
    assert_left(resumed_after(2), &[None, Some(mean(1) * 2), Some(mean(2)), Some(Duration::ZERO)]);
    assert_left(resumed_after(3), &[None, Some(step), Some(Duration::ZERO)]);

    // A noised image skips one step of each batch.
    load(&decoder, true, time_of_op);
    let size = decoder.config.image_size;
    let start_with = Start::Noised { image: vec![0.0; size * size * 3].into(), step: 1 };
    let job = start(&decoder, &SampleOptions { start: start_with, ..options() });
    assert_eq!(job.progress().total, 4);
    assert_left(job, &[None, Some(step * 2), Some(mean(2)), Some(Duration::ZERO)]);
}

#[test]
fn a_pause_counts_as_if_it_came_again() {
    let decoder = decoder();
    let device = load(&decoder, true, |_| Duration::from_micros(100));
    let mut job = start(&decoder, &options());
    let step = device.time(job.loaded.executor.program().body());
    take(&mut job, 2);
    clock::advance(step * 3);
    assert_eq!(job.progress().left, Some(step * 4 * 4));
}

#[test]
fn the_longest_slice_since_the_last_call_is_told() {
    let decoder = decoder();
    let device = load(&decoder, false, uneven);
    learn_pace(&decoder, Duration::from_millis(1));
    let mut job = start(&decoder, &options());
    let mut told = [0; 2];
    until_over(&mut job, |job| {
        let before = device.state().reported.len();
        let slice = job.advance(Duration::from_micros(500)).expect("a slice").slice;
        let reported = device.state().reported[before..].to_vec();
        assert_eq!(slice, reported.into_iter().map(|slice| device.time(slice)).max());
        told[usize::from(slice.is_some())] += 1;
        clock::advance(Duration::from_micros(170));
    });
    assert!(told.iter().all(|&calls| calls > 10), "{told:?}");
}

#[test]
fn a_step_counts_once_all_its_slices_are_known_to_have_ended() {
    let decoder = decoder();
    let device = load(&decoder, false, uneven);
    learn_pace(&decoder, Duration::from_millis(1));
    device.state().reported.clear();
    // The overhead lets slices end between two calls of the executor.
    device.state().overhead = Duration::from_micros(7);
    let mut job = start(&decoder, &options());
    let body = job.loaded.executor.program().body();
    let mut behind = 0;
    until_over(&mut job, |job| {
        let done = job.advance(Duration::from_micros(400)).expect("a slice").done;
        let ended = device.state().reported.iter().filter(|slice| slice.end == body.end).count();
        // One step may have ended whose results are still being read.
        assert!(done <= ended && ended <= done + 1, "{done} steps, {ended} of which have ended");
        behind += usize::from(device.count_under_way() > 1);
    });
    assert!(behind > 10, "slices wait behind others");
}
