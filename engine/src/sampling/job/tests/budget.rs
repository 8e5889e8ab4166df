//! Tests of how many ops a call hands to the device.

use std::ops::Range;
use std::time::Duration;

use super::device::FakeDevice;
use super::*;
use crate::sampling::job::WAITING_SLICE;

/// The rounding error of a sum of times.
const ROUNDING: Duration = Duration::from_nanos(1);

const BUDGETS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_micros(60),
    Duration::from_micros(150),
    Duration::from_micros(400),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(50),
];

/// True if a slice may exceed the budget, because it is a single op, or because the ops before `tail` fit and the tail
/// is never split.
fn is_least(device: &FakeDevice, tail: usize, slice: &Range<usize>, budget: Duration) -> bool {
    slice.len() == 1 || device.time(slice.start.min(tail)..slice.end.min(tail)) <= budget + ROUNDING
}

/// Returns the time of the next op that a job could hand over, or of the whole tail if the op belongs to it.
fn time_of_next(device: &FakeDevice, job: &Job) -> Option<Duration> {
    let ready = job.ready().filter(|_| job.is_running())?;
    let tail = job.loaded.executor.program().tail();
    Some(device.time(ready.start..if ready.start + 1 > tail { ready.end } else { ready.start + 1 }))
}

#[test]
fn what_is_under_way_fits_the_budget_and_fills_it() {
    let decoder = decoder();
    for budget in BUDGETS {
        let device = load(&decoder, false, uneven);
        learn_pace(&decoder, Duration::from_millis(1));
        let mut job = start(&decoder, &options());
        let tail = job.loaded.executor.program().tail();
        let mut pauses = [budget / 3, budget, Duration::ZERO, Duration::from_micros(45)].into_iter().cycle();
        until_over(&mut job, |job| {
            let was_idle = device.end().is_none_or(|end| end <= clock::now());
            let before = device.state().slices.len();
            job.advance(budget).expect("a slice");
            let handed_over = device.state().slices[before..].to_vec();
            let under_way = device.time_under_way();
            let is_forced = was_idle && handed_over.len() == 1 && is_least(&device, tail, &handed_over[0], budget);
            assert!(
                handed_over.is_empty() || under_way <= budget + ROUNDING || is_forced,
                "{} slices of {budget:?}: {under_way:?} under way",
                handed_over.len()
            );
            if let Some(next) = time_of_next(&device, job) {
                assert!(!under_way.is_zero(), "an idle device, {budget:?}");
                assert!(under_way + next + ROUNDING > budget, "{under_way:?} of {budget:?}, and {next:?} would fit");
            }
            clock::advance(pauses.next().expect("a cycle"));
        });
    }
}

#[test]
fn a_host_returns_within_the_budget_and_uses_it() {
    let decoder = decoder();
    for budget in BUDGETS {
        let device = load(&decoder, true, uneven);
        learn_pace(&decoder, Duration::from_millis(1));
        let mut job = start(&decoder, &options());
        let tail = job.loaded.executor.program().tail();
        until_over(&mut job, |job| {
            let (began, before) = (clock::now(), device.state().slices.len());
            job.advance(budget).expect("a slice");
            let spent = clock::now() - began;
            let handed_over = device.state().slices[before..].to_vec();
            let is_forced = handed_over.len() == 1 && is_least(&device, tail, &handed_over[0], budget);
            assert!(
                spent <= budget + ROUNDING || is_forced,
                "{} slices took {spent:?} of {budget:?}",
                handed_over.len()
            );
            assert!(!handed_over.is_empty(), "nothing was done in {budget:?}");
            if let Some(next) = time_of_next(&device, job) {
                assert!(spent + next + ROUNDING > budget, "{spent:?} of {budget:?}, and {next:?} would fit");
            }
        });
    }
}

#[test]
fn one_op_is_under_way_until_the_pace_is_known() {
    let decoder = decoder();
    let device = load(&decoder, false, uneven);
    let mut job = start(&decoder, &options());
    for _ in 0..3 {
        job.advance(Duration::from_secs(1)).expect("a slice");
        let slices = device.state().slices.clone();
        assert_eq!((slices.len(), slices.first()), (1, Some(&(0..1))));
    }
    clock::advance(device.time(0..1));
    job.advance(Duration::from_secs(1)).expect("a slice");
    let prologue = job.loaded.executor.program().prologue();
    assert_eq!(device.state().slices[1], 1..prologue.end);
}

#[test]
fn a_call_that_waits_hands_over_400_ms_at_once() {
    let decoder = decoder();
    let (tail, slow) = {
        let sampling = SamplingLoop::new(&decoder.model, &decoder.config, &options().method, 2, NoiseFrom::Seed);
        let program = sampling.expect("a program").program();
        (program.tail(), program.body().start + 3)
    };
    // Four ops of 100 ms fit exactly; one of 700 ms does not fit at all.
    let device = load(&decoder, false, |op| match op {
        _ if op >= tail => Duration::ZERO,
        _ if op == slow => Duration::from_millis(700),
        _ => Duration::from_millis(100),
    });
    learn_pace(&decoder, Duration::from_secs(1));
    let before = device.state().slices.len();
    images(start(&decoder, &options()));
    let slices = device.state().slices[before..].to_vec();
    let times: Vec<Duration> = slices.iter().map(|slice| device.time(slice.clone())).collect();
    assert!(slices.contains(&(slow..slow + 1)), "{slices:?}");
    assert!(times.iter().zip(&slices).all(|(time, slice)| *time <= WAITING_SLICE || slice.len() == 1), "{times:?}");
    let full = times.iter().filter(|time| **time == Duration::from_millis(400)).count();
    assert!(full > times.len() / 2 && WAITING_SLICE == Duration::from_millis(400), "{times:?}");
}
