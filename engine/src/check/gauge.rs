//! Measures the memory of this process while something runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The interval between measurements. Memory that is allocated and freed in between is missed.
const PERIOD: Duration = Duration::from_millis(2);

/// Measures the peak of resident anonymous memory between [`Gauge::start`] and [`Gauge::peak`]. It counts neither
/// mapped files, which the system can drop at any time, nor the memory of a graphics card.
pub struct Gauge {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Gauge {
    /// Starts measuring.
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

    /// Stops measuring and returns the peak in bytes, or `None` if the system does not report it.
    pub fn peak(self) -> Option<usize> {
        self.stop.store(true, Ordering::Relaxed);
        // The thread never panics.
        let _ = self.thread.join();
        let last = anonymous_bytes().unwrap_or(0);
        Some(self.peak.load(Ordering::Relaxed).max(last)).filter(|&peak| peak > 0)
    }
}

/// Returns the bytes of this process's resident anonymous memory, as counted by Linux.
fn anonymous_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}
