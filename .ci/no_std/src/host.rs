//! What std would have brought: memory, output and the end of a panic, from libc.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr::null_mut;

#[link(name = "c")]
unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
    safe fn abort() -> !;
}

/// What `malloc` aligns to on 64-bit systems.
const MALLOC_ALIGN: usize = 16;

struct Malloc;

// SAFETY: malloc's blocks are as long as asked for, aligned to MALLOC_ALIGN, and live until they are freed;
// stricter alignments are refused with null, as GlobalAlloc asks. Neither function unwinds.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > MALLOC_ALIGN {
            return null_mut();
        }
        // SAFETY: malloc takes any size.
        unsafe { malloc(layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: the caller hands back, once, what `alloc` returned: a block of malloc's.
        unsafe { free(memory.cast()) }
    }
}

#[global_allocator]
static ALLOCATOR: Malloc = Malloc;

/// An open file, by its number.
pub struct Output(c_int);

impl Output {
    pub fn stdout() -> Self {
        Output(1)
    }

    pub fn stderr() -> Self {
        Output(2)
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: `rest` is that many readable bytes.
            let written = unsafe { write(self.0, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(count) if count > 0 => rest = &rest[count..],
                _ => return Err(fmt::Error),
            }
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Nothing is left to do where this fails.
    let _ = writeln!(Output::stderr(), "{info}");
    abort()
}

// The toolchain's alloc was compiled to unwind, and so names what only std has. Nothing here unwinds: these
// are linked and never called.

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    abort()
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    abort()
}
