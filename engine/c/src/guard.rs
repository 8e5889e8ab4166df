//! The boundary between C and Rust: no panic crosses it, and errors become statuses and messages.

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

/// Returns this thread's message.
pub fn message() -> *const c_char {
    MESSAGE.with(|message| message.borrow().as_ptr())
}

/// Runs a call and returns its status. If the call fails, sets this thread's message.
pub fn guarded(call: impl FnOnce() -> Result<()>) -> percept_status {
    let (status, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return percept_status::Ok,
        Ok(Err(error)) => (status(&error), error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            (percept_status::Internal, format!("a mistake of percept's: {}", text.unwrap_or("a panic")))
        }
    };
    // A NUL would end the string early.
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
        Error::Shape(_) | Error::Config(_) => percept_status::Argument,
        // No variant reaches this arm: `every_error_has_its_status` tests that each has a status.
        _ => percept_status::Internal,
    }
}

/// Returns the error for an invalid argument.
pub fn refused(name: impl ToString, expected: impl ToString, got: impl Display) -> Error {
    Error::config(name, expected, got)
}

/// Locks a mutex even if a panic poisoned it: a call that panics reports an error, and its results are not used.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a reference to the place for a result.
///
/// # Safety
/// `place` must be null or valid for writes.
pub unsafe fn output<'a, T>(place: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: guaranteed by the caller.
    unsafe { place.as_mut() }.ok_or_else(|| refused(name, "a pointer", "null"))
}

/// Returns the caller's array as a slice.
///
/// # Safety
/// `first` must be null or point to the first of `length` elements.
pub unsafe fn slice<'a, T>(first: *const T, length: usize, name: &str) -> Result<&'a [T]> {
    if first.is_null() {
        return Err(refused(name, "a pointer", "null"));
    }
    // A slice must not be longer than `isize::MAX` bytes.
    if length > isize::MAX as usize / size_of::<T>() {
        return Err(refused(name, "a length that memory can have", length));
    }
    // SAFETY: guaranteed by the caller.
    Ok(unsafe { std::slice::from_raw_parts(first, length) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::CStr;

    use percept::error::WeightsReport;

    use super::*;

    fn told() -> String {
        // SAFETY: the message belongs to this thread, which makes no other call before the string is copied.
        unsafe { CStr::from_ptr(message()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let number = 7;
        assert_eq!(guarded(|| panic!("a wheel fell off")), percept_status::Internal);
        assert_eq!(told(), "a mistake of percept's: a wheel fell off");
        assert_eq!(guarded(|| panic!("wheel {number} fell off")), percept_status::Internal);
        assert_eq!(told(), "a mistake of percept's: wheel 7 fell off");
        assert_eq!(guarded(|| std::panic::panic_any(number)), percept_status::Internal);
        assert_eq!(told(), "a mistake of percept's: a panic");
    }

    #[test]
    fn every_error_has_its_status() {
        use percept_status::{Argument, Device, DeviceLost, File, NotFinite, OutOfMemory};
        let table = [
            ("Shape", Error::shape("at", "expected", "got"), Argument),
            ("Config", Error::config("at", "expected", "got"), Argument),
            ("File", Error::file("at", "expected", "got"), File),
            ("Image", Error::image("at", "expected", "got"), File),
            ("Device", Error::device("at", "expected", "got"), Device),
            ("DeviceLost", Error::device_lost("at", "expected", "got"), DeviceLost),
            ("OutOfMemory", Error::out_of_memory("at", "expected", "got"), OutOfMemory),
            ("Shader", Error::shader("at", "expected", "got"), Device),
            ("NotFinite", Error::not_finite("at", "expected", "got"), NotFinite),
            ("Weights", Error::Weights(WeightsReport::default()), File),
        ];
        for (name, error, expected) in &table {
            assert!(format!("{error:?}").starts_with(&format!("{name}(")), "{error:?} is not {name}");
            assert_eq!(guarded(|| Err(error.clone())), *expected, "{name}");
            assert_eq!(told(), error.to_string());
        }
        // `Error` is non-exhaustive, so the compiler does not report a missing variant. Its source lists them all.
        let source = include_str!("../../src/error.rs");
        let (_, variants) = source.split_once("pub enum Error {\n").expect("the enum");
        let (variants, _) = variants.split_once("\n}").expect("its end");
        let variants = variants.lines().filter_map(|line| line.trim().split_once(['(', '{', ',']));
        let variants = variants.map(|(name, _)| name.trim()).filter(|name| !name.starts_with("//"));
        let variants: BTreeSet<&str> = variants.collect();
        assert_eq!(table.iter().map(|(name, ..)| *name).collect::<BTreeSet<_>>(), variants);
    }

    #[test]
    fn a_message_stays_with_its_thread_and_is_whole() {
        assert_eq!(guarded(|| Err(refused("size", "1 or more\0bytes", 0))), percept_status::Argument);
        let mine = told();
        assert!(mine.contains("size") && mine.contains("1 or more bytes"), "{mine}");
        assert_eq!(guarded(|| Ok(())), percept_status::Ok);
        assert_eq!(told(), mine);
        assert_eq!(std::thread::spawn(told).join().expect("no panic"), "");
    }

    #[test]
    fn what_a_panic_left_locked_can_be_used() {
        let shared = Mutex::new(3);
        let held = || {
            let _held = lock(&shared);
            panic!("while it is held")
        };
        assert_eq!(guarded(held), percept_status::Internal);
        assert_eq!(*lock(&shared), 3);
    }
}
