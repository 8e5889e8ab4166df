//! The memory of this process, watched while something runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long memory is not looked at. What is allocated and freed in between is missed.
const PERIOD: Duration = Duration::from_millis(2);

/// Watches how much anonymous memory is resident, from its making to [`Gauge::peak`]. Mapped files, which the
/// system can drop at any time, are not counted; nor is the memory of a graphics card.
pub struct Gauge {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Gauge {
    /// Begins to watch.
    pub fn start() -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, highest) = (stop.clone(), peak.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(anonymous_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(PERIOD);
            }
        });
        Gauge { stop, peak, thread }
    }

    /// The most bytes seen; none on a system that does not tell.
    pub fn peak(self) -> Option<usize> {
        self.stop.store(true, Ordering::Relaxed);
        // The thread has nothing to fail with.
        let _ = self.thread.join();
        let last = anonymous_bytes().unwrap_or(0);
        Some(self.peak.load(Ordering::Relaxed).max(last)).filter(|&peak| peak > 0)
    }
}

/// Linux's count of this process's resident anonymous memory.
fn anonymous_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}
