//! Error scopes and locks.

use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// Runs `work` and turns the errors that wgpu reports on this thread into an error.
pub(super) fn scoped<T>(device: &wgpu::Device, at: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory];
    let mut scopes = filters.map(|filter| Some(device.push_error_scope(filter)));
    let result = work();
    // Scopes are popped in the reverse order.
    let errors = scopes.iter_mut().rev().filter_map(|scope| scope.take().and_then(|s| pollster::block_on(s.pop())));
    match errors.collect::<Vec<_>>().into_iter().next() {
        None => result,
        Some(error) => Err(match error {
            wgpu::Error::OutOfMemory { .. } => Error::out_of_memory(at, "memory of the device", "no more"),
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Error::shader(at, "what the device takes", description)
            }
        }),
    }
}

/// Locks a mutex, even if it is poisoned: the data is consistent after a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
