//! What frames take, from one to the next.

use std::time::{Duration, Instant};

/// What the window does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Idle,
    Loading,
    Sampling,
}

/// The times of all frames so far.
#[derive(Default)]
pub struct Frames {
    last: Option<Instant>,
    times: Vec<(Phase, Duration)>,
    longest_slice: Duration,
}

impl Frames {
    /// A frame begins.
    pub fn begin(&mut self, phase: Phase) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.times.push((phase, now - last));
        }
    }

    /// A slice of a job has ended.
    pub fn slice(&mut self, slice: Option<Duration>) {
        self.longest_slice = self.longest_slice.max(slice.unwrap_or_default());
    }

    /// Forgets the slices so far: a run begins, whose first slices are long because nothing is known of it.
    pub fn restart_slices(&mut self) {
        self.longest_slice = Duration::ZERO;
    }

    /// Median and 99th percentile in each phase.
    pub fn report(&self) -> String {
        let mut lines = Vec::new();
        for (name, phase) in [("idle", Phase::Idle), ("loading", Phase::Loading), ("sampling", Phase::Sampling)] {
            let mut times: Vec<f64> =
                self.times.iter().filter(|(of, _)| *of == phase).map(|(_, time)| time.as_secs_f64() * 1e3).collect();
            times.sort_by(f64::total_cmp);
            if let (Some(median), Some(p99)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
                lines.push(format!("{name:9} {:6} frames, median {median:7.2} ms, p99 {p99:7.2} ms", times.len()));
            }
        }
        lines.push(format!("longest slice of a run: {:.2} ms", self.longest_slice.as_secs_f64() * 1e3));
        lines.join("\n")
    }
}
