//! percept for C: opaque handles, statuses, and a message per thread for the last of them that was no success.
//!
//! No panic crosses: it becomes [`percept_status::Internal`]. A structure of parameters begins with its size in bytes, as the
//! caller was compiled: fields that a later version added have their defaults for older callers.
#![allow(non_camel_case_types)]

mod guard;

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use guard::{guarded, lock, message, output, refused, slice};
use percept::pipeline::{Bundle, CancelToken, Device, Job, Method, SampleOptions, Status, image_file};
use percept::{Error, Result};

/// How a call ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum percept_status {
    /// As it should.
    Ok = 0,
    /// An argument is null, too small or impossible.
    Argument = 1,
    /// A file cannot be read, or is not what it should be.
    File = 2,
    /// There is no such device.
    Device = 3,
    /// The device was lost: open everything anew, and go on from a state.
    DeviceLost = 4,
    /// There is not enough memory.
    OutOfMemory = 5,
    /// A result is not finite.
    NotFinite = 6,
    /// A mistake of percept's.
    Internal = 7,
}

/// An encoder and the decoder that was trained on its representations, on a device. One thread at a time may use it; others
/// wait.
pub struct percept_bundle {
    inner: Mutex<Bundle>,
}

/// A sampling run. One thread at a time may use it, others wait; but percept_job_cancel never waits.
pub struct percept_job {
    inner: Mutex<Job>,
    token: CancelToken,
}

/// What to sample.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct percept_sample_options {
    /// sizeof(struct percept_sample_options)
    pub size: usize,
    /// Images.
    pub samples: u32,
    /// Steps of DDPM.
    pub steps: u32,
    /// What noise is drawn from.
    pub seed: u64,
    /// Images computed at once; 0: as many as fit.
    pub batch: u32,
    /// Bytes that the run may take on its device, weights and all; 0: as many as there are.
    pub memory: u64,
}

/// A run of which there is something left to be done.
pub const PERCEPT_RUNNING: u32 = 0;
/// A run whose images are all there.
pub const PERCEPT_DONE: u32 = 1;
/// A run that was cancelled.
pub const PERCEPT_CANCELLED: u32 = 2;

/// How far a run is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct percept_progress {
    /// sizeof(struct percept_progress)
    pub size: usize,
    /// Steps taken.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Seconds left; negative while nothing is known.
    pub seconds_left: f64,
    /// PERCEPT_RUNNING, PERCEPT_DONE or PERCEPT_CANCELLED.
    pub state: u32,
}

/// The version of the interface: changes that a caller has to know of raise it.
#[unsafe(no_mangle)]
pub extern "C" fn percept_version() -> u32 {
    1
}

/// What went wrong in the last call of this thread that was no success; "" where none was. Valid until the thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn percept_message() -> *const c_char {
    message()
}

/// Opens a bundle file on a device: "auto", "cpu", "gpu" or a part of an adapter's name.
///
/// # Safety
/// `path` and `device` are strings that end in 0, `bundle` a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_bundle_open(
    path: *const c_char,
    device: *const c_char,
    bundle: *mut *mut percept_bundle,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (path, device, bundle) =
            unsafe { (text(path, "path")?, text(device, "device")?, output(bundle, "bundle")?) };
        let inner = Mutex::new(Bundle::open(Path::new(path), &Device::named(device)?)?);
        *bundle = Box::into_raw(Box::new(percept_bundle { inner }));
        Ok(())
    })
}

/// Closes a bundle; its jobs go on. Null does nothing.
///
/// # Safety
/// `bundle` is one that was opened and not closed, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_bundle_close(bundle: *mut percept_bundle) {
    if !bundle.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(bundle) });
    }
}

/// The elements of a representation, and the pixels a side of an image.
///
/// # Safety
/// `bundle` is open; `length` and `image_size` are places for numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_bundle_sizes(
    bundle: *const percept_bundle,
    length: *mut usize,
    image_size: *mut usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (bundle, length, image_size) =
            unsafe { (handle(bundle, "bundle")?, output(length, "length")?, output(image_size, "image_size")?) };
        let config = lock(&bundle.inner).rcdm.config().clone();
        (*length, *image_size) = (config.ssl_dim, config.image_size);
        Ok(())
    })
}

/// The representation of a picture file (PNG or JPEG); `length` is that of percept_bundle_sizes.
///
/// # Safety
/// `bundle` is open, `path` a string that ends in 0, `representation` has room for `length` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_encode_file(
    bundle: *mut percept_bundle,
    path: *const c_char,
    representation: *mut f32,
    length: usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (bundle, path) = unsafe { (handle(bundle, "bundle")?, text(path, "path")?) };
        let h = lock(&bundle.inner).encoder.encode(&image_file::open(path)?)?;
        // SAFETY: as the caller promises.
        unsafe { fill(representation, length, &h, "representation") }
    })
}

/// Begins to sample images of a representation. Takes a while: call it away from a window's thread.
///
/// # Safety
/// `bundle` is open, `representation` has `length` floats, `options` is filled in, `job` a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_start(
    bundle: *const percept_bundle,
    representation: *const f32,
    length: usize,
    options: *const percept_sample_options,
    job: *mut *mut percept_job,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (bundle, h, options, job) = unsafe {
            let h = slice(representation, length, "representation")?;
            check_size(options, "options")?;
            (handle(bundle, "bundle")?, h, handle(options, "options")?, output(job, "job")?)
        };
        let nonzero = |number: usize| (number > 0).then_some(number);
        let options = SampleOptions {
            samples: options.samples as usize,
            method: Method::ddpm(options.steps as usize),
            seed: options.seed,
            batch: nonzero(options.batch as usize),
            memory: nonzero(usize::try_from(options.memory).unwrap_or(usize::MAX)),
            ..SampleOptions::default()
        };
        *job = new_job(lock(&bundle.inner).rcdm.start(&[h], &options)?);
        Ok(())
    })
}

/// Goes on from what percept_job_state wrote.
///
/// # Safety
/// `bundle` is open, `state` has `length` bytes, `job` is a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_resume(
    bundle: *const percept_bundle,
    state: *const u8,
    length: usize,
    job: *mut *mut percept_job,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (bundle, state, job) =
            unsafe { (handle(bundle, "bundle")?, slice(state, length, "state")?, output(job, "job")?) };
        *job = new_job(lock(&bundle.inner).rcdm.resume(state)?);
        Ok(())
    })
}

/// Hands the device what it needs `milliseconds` for; does not wait for it. `progress` may be null.
///
/// # Safety
/// `job` was started and not freed; `progress` is null, or its size is filled in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_advance(
    job: *mut percept_job,
    milliseconds: f64,
    progress: *mut percept_progress,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (job, progress) = unsafe { (handle(job, "job")?, place(progress)?) };
        let budget = Duration::try_from_secs_f64(milliseconds / 1e3);
        let budget = budget.map_err(|_| refused("milliseconds", "0 or more", milliseconds))?;
        let now = lock(&job.inner).advance(budget)?;
        tell(progress, now);
        Ok(())
    })
}

/// Takes a run to its end, or until it is cancelled; waits. `progress` may be null.
///
/// # Safety
/// As percept_job_advance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_wait(job: *mut percept_job, progress: *mut percept_progress) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (job, progress) = unsafe { (handle(job, "job")?, place(progress)?) };
        loop {
            // Step by step, so that other threads get their turn.
            let now = lock(&job.inner).step()?;
            if now.status != Status::Running {
                tell(progress, now);
                return Ok(());
            }
        }
    })
}

/// Asks a run to stop; from any thread, and without waiting for others.
///
/// # Safety
/// `job` was started and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_cancel(job: *const percept_job) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        unsafe { handle(job, "job")? }.token.cancel();
        Ok(())
    })
}

/// The images that are whole: how many, and, where `pixels` is not null, their bytes, `[count, size, size, 3]`, of which
/// there must be room for all.
///
/// # Safety
/// `job` was started and not freed; `count` is a place for a number; `pixels` is null or has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_images(
    job: *const percept_job,
    count: *mut usize,
    pixels: *mut u8,
    length: usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (job, count) = unsafe { (handle(job, "job")?, output(count, "count")?) };
        let job = lock(&job.inner);
        *count = job.images().len();
        if pixels.is_null() {
            return Ok(());
        }
        let bytes: Vec<u8> = job.images().iter().flat_map(|image| image.as_raw()).copied().collect();
        // SAFETY: as the caller promises.
        unsafe { fill(pixels, length, &bytes, "pixels") }
    })
}

/// All that is needed to go on from the last whole step: how many bytes, and, where `state` is not null, the bytes. Waits. The
/// number changes with every step, so that nothing may advance the job between the two calls.
///
/// # Safety
/// `job` was started and not freed; `length` is a place for a number; `state` is null or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_state(
    job: *mut percept_job,
    length: *mut usize,
    state: *mut u8,
    capacity: usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let (job, length) = unsafe { (handle(job, "job")?, output(length, "length")?) };
        let bytes = lock(&job.inner).state()?;
        *length = bytes.len();
        if state.is_null() {
            return Ok(());
        }
        // SAFETY: as the caller promises.
        unsafe { fill(state, capacity, &bytes, "state") }
    })
}

/// Frees a job, and stops it. Null does nothing.
///
/// # Safety
/// `job` is one that was started and not freed, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_free(job: *mut percept_job) {
    if !job.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(job) });
    }
}

fn new_job(job: Job) -> *mut percept_job {
    let token = job.token();
    Box::into_raw(Box::new(percept_job { inner: Mutex::new(job), token }))
}

/// Refuses a structure that is smaller than this version's first.
///
/// # Safety
/// `structure` is null, or begins with a `usize`, its size in bytes.
unsafe fn check_size<T>(structure: *const T, name: &str) -> Result<()> {
    // Reads the size alone: an older caller's structure is shorter than `T`.
    // SAFETY: as the caller promises.
    let size = unsafe { structure.cast::<usize>().as_ref() };
    let size = *size.ok_or_else(|| refused(name, "a pointer", "null"))?;
    match size >= size_of::<T>() {
        true => Ok(()),
        false => Err(refused(name, format!("a structure whose size says {} bytes", size_of::<T>()), size)),
    }
}

/// The caller's progress structure, or `None` for a null pointer.
///
/// # Safety
/// `progress` is null, or its size is filled in.
unsafe fn place<'a>(progress: *mut percept_progress) -> Result<Option<&'a mut percept_progress>> {
    if progress.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises; there is as much of it as its size says.
    unsafe {
        check_size(progress, "progress")?;
        Ok(progress.as_mut())
    }
}

fn tell(progress: Option<&mut percept_progress>, now: percept::pipeline::Progress) {
    let Some(progress) = progress else { return };
    progress.done = now.done as u64;
    progress.total = now.total as u64;
    progress.seconds_left = now.left.map_or(-1.0, |left| left.as_secs_f64());
    progress.state = match now.status {
        Status::Running => PERCEPT_RUNNING,
        Status::Done => PERCEPT_DONE,
        Status::Cancelled => PERCEPT_CANCELLED,
    };
}

/// # Safety
/// `text` is null, or a string that ends in 0 and lives as long as the call.
unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(refused(name, "a string", "null"));
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|error| refused(name, "a string in UTF-8", error))
}

/// # Safety
/// `handle` is null, or lives as long as the call.
unsafe fn handle<'a, T>(handle: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: as the caller promises.
    unsafe { handle.as_ref() }.ok_or_else(|| refused(name, "a pointer", "null"))
}

/// # Safety
/// `to` is null, or has room for `length` elements.
unsafe fn fill<T: Copy>(to: *mut T, length: usize, from: &[T], name: &str) -> Result<()> {
    if to.is_null() || length < from.len() {
        return Err(Error::config(name, format!("room for {} elements", from.len()), length));
    }
    // SAFETY: both have as many elements, and the caller's memory is not ours.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    Ok(())
}
