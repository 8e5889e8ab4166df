//! A counting allocator that aborts the process if an input allocates more memory than an input of its size may.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of bytes that an input of any size may allocate: PyTorch's reader copies up to 64 MiB of a pickle's
/// strings, and up to a million of its values.
const BASE: usize = 160 << 20;
/// The additional number of bytes per byte of input. Deflate shrinks to at most a 1032nd. A pickle may only shrink
/// to an eighth, but each of its bytes may become a value of a hundred bytes.
const PER_BYTE: usize = 1100;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static INPUTS: AtomicUsize = AtomicUsize::new(0);

/// Runs `body` under the limit of an input of `input` bytes.
pub fn limited(input: usize, body: impl FnOnce()) {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(|| {
        // SAFETY: `report` is a function that lives as long as the process, and it does not unwind because it only
        // prints.
        unsafe { atexit(report) };
    });
    INPUTS.fetch_add(1, Relaxed);
    USED.store(0, Relaxed);
    LIMIT.store(BASE.saturating_add(input.saturating_mul(PER_BYTE)), Relaxed);
    body();
    LIMIT.store(usize::MAX, Relaxed);
}

unsafe extern "C" {
    /// The function of the C library.
    fn atexit(function: extern "C" fn()) -> i32;
}

/// Prints one line for a script.
extern "C" fn report() {
    let count = |of: &AtomicUsize| of.load(Relaxed);
    eprintln!("memory: {} inputs, largest allocation {}, peak {}", count(&INPUTS), count(&LARGEST), count(&PEAK));
}

impl Counting {
    /// Counts memory before it is allocated, and aborts if there is too much of it.
    fn take(&self, size: usize) {
        let limit = LIMIT.load(Relaxed);
        if limit == usize::MAX {
            return;
        }
        // Memory that was allocated outside of `limited` and is freed inside takes the count below zero, so it
        // wraps.
        let used = USED.fetch_add(size, Relaxed).wrapping_add(size);
        let used = if used > usize::MAX / 2 { 0 } else { used };
        if size > limit || used > limit {
            // The message itself allocates.
            LIMIT.store(usize::MAX, Relaxed);
            eprintln!("an allocation of {size} bytes, {used} in all, of at most {limit}");
            eprintln!("{}", Backtrace::force_capture());
            std::process::abort();
        }
        LARGEST.fetch_max(size, Relaxed);
        PEAK.fetch_max(used, Relaxed);
    }

    fn give(&self, size: usize) {
        if LIMIT.load(Relaxed) != usize::MAX {
            USED.fetch_sub(size, Relaxed);
        }
    }
}

// SAFETY: all memory comes from the system allocator, in the requested layout. This allocator only counts it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new memory exist at the same time for a moment.
        self.take(size);
        self.give(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.give(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}
