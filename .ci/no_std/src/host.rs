//! Replaces parts of std with libc: the allocator, output and the panic handler.

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

/// The alignment of `malloc`'s blocks on 64-bit systems.
const MALLOC_ALIGN: usize = 16;

struct Malloc;

// SAFETY: malloc's blocks have the requested size, are aligned to MALLOC_ALIGN, and live until they are freed.
// Stricter alignments are refused with null, as GlobalAlloc requires. Neither function unwinds.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > MALLOC_ALIGN {
            return null_mut();
        }
        // SAFETY: malloc accepts any size.
        unsafe { malloc(layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: the caller passes a block that `alloc` returned, and passes it only once.
        unsafe { free(memory.cast()) }
    }
}

#[global_allocator]
static ALLOCATOR: Malloc = Malloc;

/// An open file descriptor.
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
            // SAFETY: `rest` has `rest.len()` readable bytes.
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
    // If this fails, nothing else can report the panic.
    let _ = writeln!(Output::stderr(), "{info}");
    abort()
}

// The toolchain's alloc was compiled to unwind, so it refers to these functions of std. They are linked but never
// called, because nothing here unwinds.

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    abort()
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    abort()
}
