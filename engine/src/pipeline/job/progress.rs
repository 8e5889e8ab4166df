//! How far a job is, and what stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps taken, over all batches.
    pub done: usize,
    /// Of how many.
    pub total: usize,
    /// How long the rest will take if it goes on as it did; none before the first step was taken.
    pub left: Option<Duration>,
    /// The longest slice that ended since the last call, on the device's clock where it has one.
    pub slice: Option<Duration>,
    /// Whether there is anything left to be done.
    pub status: Status,
}

/// Whether there is anything left to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is.
    Running,
    /// All images are there.
    Done,
    /// The run was cancelled.
    Cancelled,
}

/// Cancels a [`Job`](super::Job), from any thread.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the job to stop. The call that advances it next, or does so now, returns at its next slice.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the job was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
