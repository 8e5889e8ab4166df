//! The progress of a job, and its cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of steps taken, over all batches.
    pub done: usize,
    /// The total number of steps.
    pub total: usize,
    /// The estimated time for the remaining steps, from the mean time per step so far. `None` until it can be
    /// estimated.
    pub left: Option<Duration>,
    /// The time of the longest slice that ended since the last call, by the device's clock if it has one.
    pub slice: Option<Duration>,
    /// The status of the run.
    pub status: Status,
}

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Steps remain.
    Running,
    /// All images are complete.
    Done,
    /// The run was cancelled.
    Cancelled,
}

/// A handle that cancels a [`Job`](super::Job) from any thread.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the job to stop. A call that is advancing the job returns after its current slice, and later calls start no
    /// new one.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns true if the job was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
