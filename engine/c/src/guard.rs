//! What stands between C and Rust: no panic crosses, and errors become statuses and messages.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use percept::{Error, Result};

use crate::percept_status;

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// The thread's message.
pub fn message() -> *const c_char {
    MESSAGE.with(|message| message.borrow().as_ptr())
}

/// Runs a call, and tells how it ended.
pub fn guarded(call: impl FnOnce() -> Result<()>) -> percept_status {
    let (status, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return percept_status::Ok,
        Ok(Err(error)) => (status(&error), error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            (percept_status::Internal, format!("a mistake of percept's: {}", text.unwrap_or("a panic")))
        }
    };
    // Without what would end the string early.
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    MESSAGE.with(|message| message.replace(text));
    status
}

fn status(error: &Error) -> percept_status {
    match error {
        Error::File(_) | Error::Image(_) | Error::Weights(_) => percept_status::File,
        Error::Device(_) | Error::Shader(_) => percept_status::Device,
        Error::DeviceLost(_) => percept_status::DeviceLost,
        Error::OutOfMemory(_) => percept_status::OutOfMemory,
        Error::NotFinite(_) => percept_status::NotFinite,
        _ => percept_status::Argument,
    }
}

/// The error of an argument.
pub fn refused(name: impl ToString, expected: impl ToString, got: impl Display) -> Error {
    Error::config(name, expected, got)
}

/// What a panic left is not used: every call ends in an error or is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for a result.
///
/// # Safety
/// `place` is null, or can be written to.
pub unsafe fn output<'a, T>(place: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: as the caller promises.
    unsafe { place.as_mut() }.ok_or_else(|| refused(name, "a pointer", "null"))
}

/// Elements that the caller has.
///
/// # Safety
/// `first` is null, or the first of `length` elements.
pub unsafe fn slice<'a, T>(first: *const T, length: usize, name: &str) -> Result<&'a [T]> {
    if first.is_null() {
        return Err(refused(name, "a pointer", "null"));
    }
    // SAFETY: as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(first, length) })
}
