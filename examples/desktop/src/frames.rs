//! The times from one frame to the next.

use std::time::{Duration, Instant};

/// The activity of the window during a frame.
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
    /// Records that a frame begins.
    pub fn begin(&mut self, phase: Phase) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.times.push((phase, now - last));
        }
    }

    /// Records the time of a slice, if one has ended.
    pub fn slice(&mut self, slice: Option<Duration>) {
        self.longest_slice = self.longest_slice.max(slice.unwrap_or_default());
    }

    /// Forgets the slices so far, because a new run begins.
    pub fn restart_slices(&mut self) {
        self.longest_slice = Duration::ZERO;
    }

    /// Reports the median and the 99th percentile of the frame times in each phase, and the longest slice.
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
