//! The clock that jobs measure time with. Tests can set it.

#[cfg(test)]
pub(super) use fake::{advance, now};
#[cfg(not(test))]
pub(super) use system::now;

#[cfg(not(test))]
mod system {
    use std::time::Instant;

    pub fn now() -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until a test advances it; each thread has its own.
#[cfg(test)]
mod fake {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static NOW: Cell<Instant> = Cell::new(Instant::now());
    }

    pub fn now() -> Instant {
        NOW.get()
    }

    pub fn advance(time: Duration) {
        NOW.set(NOW.get() + time);
    }
}
