//! The C interface of percept: opaque handles, statuses, and a message per thread for its most recent failed call.
//!
//! No panic crosses into C: it becomes [`percept_status::Internal`]. A parameter structure begins with its size in
//! bytes, as the caller was compiled, so that fields added by a later version have default values for older callers.
#![allow(non_camel_case_types)]

mod guard;

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use guard::{guarded, lock, message, output, refused, slice};
use percept::images;
use percept::{Bundle, CancelToken, Device, Job, Method, SampleOptions, Status};
use percept::{Error, Result};

/// The status that a call returns.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum percept_status {
    /// The call succeeded.
    Ok = 0,
    /// An argument is null, too small or invalid.
    Argument = 1,
    /// A file cannot be read, or its content is invalid.
    File = 2,
    /// The device does not exist, or its driver refused a shader.
    Device = 3,
    /// The device was lost. Open everything again, and resume jobs from their saved states.
    DeviceLost = 4,
    /// There is not enough memory.
    OutOfMemory = 5,
    /// A result is not finite.
    NotFinite = 6,
    /// A bug in percept.
    Internal = 7,
}

/// An encoder and the decoder that was trained on its representations, on a device. Only one thread at a time can use
/// it; others wait.
pub struct percept_bundle {
    inner: Mutex<Bundle>,
}

/// A sampling run. Only one thread at a time can use it; others wait. percept_job_cancel never waits.
pub struct percept_job {
    inner: Mutex<Job>,
    token: CancelToken,
}

/// The options of a sampling run.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct percept_sample_options {
    /// sizeof(struct percept_sample_options)
    pub size: usize,
    /// The number of images.
    pub samples: u32,
    /// The number of DDPM steps.
    pub steps: u32,
    /// The seed of the noise.
    pub seed: u64,
    /// The number of images computed at once, or 0 for as many as fit.
    pub batch: u32,
    /// The number of bytes that the run may use on its device, including the weights, or 0 for no limit.
    pub memory: u64,
}

/// The run is not finished.
pub const PERCEPT_RUNNING: u32 = 0;
/// All images of the run are finished.
pub const PERCEPT_DONE: u32 = 1;
/// The run was cancelled.
pub const PERCEPT_CANCELLED: u32 = 2;

/// The progress of a run.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct percept_progress {
    /// sizeof(struct percept_progress)
    pub size: usize,
    /// The number of steps done.
    pub done: u64,
    /// The total number of steps.
    pub total: u64,
    /// The estimated number of seconds left, or a negative number if there is no estimate yet.
    pub seconds_left: f64,
    /// PERCEPT_RUNNING, PERCEPT_DONE or PERCEPT_CANCELLED.
    pub state: u32,
}

/// Returns the version of the interface. It increases with every change that callers must know about.
#[unsafe(no_mangle)]
pub extern "C" fn percept_version() -> u32 {
    1
}

/// Returns the message for this thread's most recent failed call, or "" if there was none. The message is valid until
/// the thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn percept_message() -> *const c_char {
    message()
}

/// Opens a bundle file on a device: "auto", "cpu", "gpu" or part of an adapter's name.
///
/// # Safety
/// `path` and `device` must be null-terminated strings. `bundle` must be valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_bundle_open(
    path: *const c_char,
    device: *const c_char,
    bundle: *mut *mut percept_bundle,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (path, device, bundle) =
            unsafe { (text(path, "path")?, text(device, "device")?, output(bundle, "bundle")?) };
        let inner = Mutex::new(Bundle::open(Path::new(path), &Device::named(device)?)?);
        *bundle = Box::into_raw(Box::new(percept_bundle { inner }));
        Ok(())
    })
}

/// Closes a bundle. Its jobs stay usable. Does nothing if `bundle` is null.
///
/// # Safety
/// `bundle` must be null or an open bundle that no other thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_bundle_close(bundle: *mut percept_bundle) {
    if !bundle.is_null() {
        // SAFETY: guaranteed by the caller.
        drop(unsafe { Box::from_raw(bundle) });
    }
}

/// Writes the number of elements of a representation to `length`, and the pixels per side of an image to `image_size`.
///
/// # Safety
/// `bundle` must be open. `length` and `image_size` must be valid for writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_bundle_sizes(
    bundle: *const percept_bundle,
    length: *mut usize,
    image_size: *mut usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (bundle, length, image_size) =
            unsafe { (handle(bundle, "bundle")?, output(length, "length")?, output(image_size, "image_size")?) };
        let config = lock(&bundle.inner).rcdm.config().clone();
        (*length, *image_size) = (config.ssl_dim, config.image_size);
        Ok(())
    })
}

/// Encodes a picture file (PNG or JPEG) and writes its representation. `length` is that of percept_bundle_sizes.
///
/// # Safety
/// `bundle` must be open. `path` must be a null-terminated string. `representation` must have room for `length` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_encode_file(
    bundle: *mut percept_bundle,
    path: *const c_char,
    representation: *mut f32,
    length: usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (bundle, path) = unsafe { (handle(bundle, "bundle")?, text(path, "path")?) };
        let h = lock(&bundle.inner).encoder.encode(&images::open(path)?)?;
        // SAFETY: guaranteed by the caller.
        unsafe { fill(representation, length, &h, "representation") }
    })
}

/// Starts to sample images from a representation. This takes a while, so do not call it on a window's thread.
///
/// # Safety
/// `bundle` must be open. `representation` must point to `length` floats. `options` must be filled in. `job` must be
/// valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_start(
    bundle: *const percept_bundle,
    representation: *const f32,
    length: usize,
    options: *const percept_sample_options,
    job: *mut *mut percept_job,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
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

/// Resumes a run from a state that percept_job_state wrote.
///
/// # Safety
/// `bundle` must be open. `state` must point to `length` bytes. `job` must be valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_resume(
    bundle: *const percept_bundle,
    state: *const u8,
    length: usize,
    job: *mut *mut percept_job,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (bundle, state, job) =
            unsafe { (handle(bundle, "bundle")?, slice(state, length, "state")?, output(job, "job")?) };
        *job = new_job(lock(&bundle.inner).rcdm.resume(state)?);
        Ok(())
    })
}

/// Advances a run by about `milliseconds` of work on its device. Does not wait for a GPU to finish that work.
/// `progress` may be null.
///
/// # Safety
/// `job` must be a job that has not been freed. `progress` must be null or have its size filled in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_advance(
    job: *mut percept_job,
    milliseconds: f64,
    progress: *mut percept_progress,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (job, progress) = unsafe { (handle(job, "job")?, place(progress)?) };
        let budget = Duration::try_from_secs_f64(milliseconds / 1e3);
        let budget = budget.map_err(|_| refused("milliseconds", "0 or more", milliseconds))?;
        let now = lock(&job.inner).advance(budget)?;
        tell(progress, now);
        Ok(())
    })
}

/// Advances a run until it is finished or cancelled, and waits for it. `progress` may be null.
///
/// # Safety
/// Same as percept_job_advance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_wait(job: *mut percept_job, progress: *mut percept_progress) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (job, progress) = unsafe { (handle(job, "job")?, place(progress)?) };
        loop {
            // Locks the job for one step at a time, so that other threads can use it in between.
            let now = lock(&job.inner).step()?;
            if now.status != Status::Running {
                tell(progress, now);
                return Ok(());
            }
        }
    })
}

/// Asks a run to stop. Any thread may call this. It does not wait for other threads.
///
/// # Safety
/// `job` must be a job that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_cancel(job: *const percept_job) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { handle(job, "job")? }.token.cancel();
        Ok(())
    })
}

/// Writes the number of finished images to `count` and, if `pixels` is not null, their bytes to `pixels` as
/// `[count, size, size, 3]`. `pixels` must have room for all of them.
///
/// # Safety
/// `job` must be a job that has not been freed. `count` must be valid for writing a number. `pixels` must be null or
/// have room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_images(
    job: *const percept_job,
    count: *mut usize,
    pixels: *mut u8,
    length: usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (job, count) = unsafe { (handle(job, "job")?, output(count, "count")?) };
        let job = lock(&job.inner);
        *count = job.images().len();
        if pixels.is_null() {
            return Ok(());
        }
        let bytes: Vec<u8> = job.images().iter().flat_map(|image| image.as_raw()).copied().collect();
        // SAFETY: guaranteed by the caller.
        unsafe { fill(pixels, length, &bytes, "pixels") }
    })
}

/// Writes the size in bytes of the job's state to `length` and, if `state` is not null, the bytes to `state`. The state
/// resumes the run after its last finished step. This call waits for the device. The size changes with every step, so
/// nothing may advance the job between the call that gets the size and the call that gets the bytes.
///
/// # Safety
/// `job` must be a job that has not been freed. `length` must be valid for writing a number. `state` must be null or
/// have room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_state(
    job: *mut percept_job,
    length: *mut usize,
    state: *mut u8,
    capacity: usize,
) -> percept_status {
    guarded(|| {
        // SAFETY: guaranteed by the caller.
        let (job, length) = unsafe { (handle(job, "job")?, output(length, "length")?) };
        let bytes = lock(&job.inner).state()?;
        *length = bytes.len();
        if state.is_null() {
            return Ok(());
        }
        // SAFETY: guaranteed by the caller.
        unsafe { fill(state, capacity, &bytes, "state") }
    })
}

/// Stops and frees a job. Does nothing if `job` is null.
///
/// # Safety
/// `job` must be null or a job that has not been freed and that no other thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percept_job_free(job: *mut percept_job) {
    if !job.is_null() {
        // SAFETY: guaranteed by the caller.
        drop(unsafe { Box::from_raw(job) });
    }
}

fn new_job(job: Job) -> *mut percept_job {
    let token = job.token();
    Box::into_raw(Box::new(percept_job { inner: Mutex::new(job), token }))
}

/// Returns an error if a structure is null or if its size is smaller than that of `T`.
///
/// # Safety
/// `structure` must be null or begin with a `usize`, its size in bytes.
unsafe fn check_size<T>(structure: *const T, name: &str) -> Result<()> {
    // Reads only the size: an older caller's structure may be shorter than `T`.
    // SAFETY: guaranteed by the caller.
    let size = unsafe { structure.cast::<usize>().as_ref() };
    let size = *size.ok_or_else(|| refused(name, "a pointer", "null"))?;
    match size >= size_of::<T>() {
        true => Ok(()),
        false => Err(refused(name, format!("a structure whose size says {} bytes", size_of::<T>()), size)),
    }
}

/// Returns the caller's progress structure, or `None` if the pointer is null.
///
/// # Safety
/// `progress` must be null or have its size filled in.
unsafe fn place<'a>(progress: *mut percept_progress) -> Result<Option<&'a mut percept_progress>> {
    if progress.is_null() {
        return Ok(None);
    }
    // SAFETY: guaranteed by the caller; the structure is as large as its size says.
    unsafe {
        check_size(progress, "progress")?;
        Ok(progress.as_mut())
    }
}

fn tell(progress: Option<&mut percept_progress>, now: percept::sampling::Progress) {
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

/// Converts a C string to a `&str`.
///
/// # Safety
/// `text` must be null or a null-terminated string that lives as long as the call.
unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(refused(name, "a string", "null"));
    }
    // SAFETY: guaranteed by the caller.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|error| refused(name, "a string in UTF-8", error))
}

/// Converts a handle to a reference.
///
/// # Safety
/// `handle` must be null or point to a value that lives as long as the call.
unsafe fn handle<'a, T>(handle: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: guaranteed by the caller.
    unsafe { handle.as_ref() }.ok_or_else(|| refused(name, "a pointer", "null"))
}

/// Copies elements to the caller's memory.
///
/// # Safety
/// `to` must be null or have room for `length` elements.
unsafe fn fill<T: Copy>(to: *mut T, length: usize, from: &[T], name: &str) -> Result<()> {
    if to.is_null() || length < from.len() {
        return Err(Error::config(name, format!("room for {} elements", from.len()), length));
    }
    // SAFETY: both have at least `from.len()` elements, and the caller's memory does not overlap `from`.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    Ok(())
}
