//! Waiting for the device, and reading its results.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::context::Gpu;
use crate::{Error, Result};

impl Gpu {
    /// Waits for a submission, or for all of them.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] if the device does not respond.
    pub(super) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.ask(wgpu::PollType::Wait { submission_index, timeout: None })
    }

    /// Polls the device for work that has ended. Does not wait.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] if the device is lost.
    pub(super) fn poll(&self) -> Result<()> {
        self.ask(wgpu::PollType::Poll)
    }

    fn ask(&self, how: wgpu::PollType) -> Result<()> {
        let answer = self.device().poll(how);
        self.is_lost()?;
        answer.map(|_| ()).map_err(|error| self.unanswered(error))
    }

    /// Returns the error for a device that does not respond.
    pub(super) fn unanswered(&self, got: impl ToString) -> Error {
        Error::device_lost(self.name(), "a device that answers", got)
    }

    /// Reads a range of a buffer, after all earlier submissions.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] or [`Error::OutOfMemory`].
    pub(super) fn read(&self, buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> Result<Vec<u32>> {
        let mut reading = Reading::new(self, bytes)?;
        reading.step(self, buffer, offset)?;
        self.wait(None)?;
        reading.step(self, buffer, offset)?.ok_or_else(|| self.lose("a buffer that does not come"))
    }
}

/// The completion of work on the device, as reported by a callback.
#[derive(Default)]
pub(super) struct End(Arc<AtomicU8>);

/// The callback's half of an `End`. If it is dropped without being called, the work counts as failed.
pub(super) struct Teller(Arc<AtomicU8>);

impl Teller {
    /// Reports that the work has ended or, if `came` is false, that it never will.
    pub fn tell(self, came: bool) {
        self.0.store(if came { End::CAME } else { End::FAILED }, Ordering::Release);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // This has no effect if an outcome was already reported.
        let _ = self.0.compare_exchange(End::OPEN, End::FAILED, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl End {
    const OPEN: u8 = 0;
    const FAILED: u8 = 1;
    const CAME: u8 = 2;

    /// Returns the half for the callback.
    pub fn teller(&self) -> Teller {
        Teller(self.0.clone())
    }

    /// Returns true if the work has ended or is known never to end.
    pub fn is_known(&self) -> bool {
        self.0.load(Ordering::Acquire) != Self::OPEN
    }

    /// Returns true if the work has ended.
    ///
    /// # Errors
    /// Returns the error of `failed` if the work will never end.
    pub fn check(&self, failed: impl FnOnce() -> Error) -> Result<bool> {
        match self.0.load(Ordering::Acquire) {
            Self::FAILED => Err(failed()),
            state => Ok(state == Self::CAME),
        }
    }
}

/// A reusable staging buffer that reads a buffer back to the host.
pub(super) struct Reading {
    staging: wgpu::Buffer,
    /// The completion of the current read, or `None` if nothing is being read.
    end: Option<End>,
}

impl Reading {
    /// Creates a staging buffer of `bytes` bytes.
    ///
    /// # Errors
    /// Returns [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, bytes: usize) -> Result<Self> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("reading back"),
            size: bytes as u64,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        };
        gpu.is_lost()?;
        gpu.scoped("reading back", || Ok(Reading { staging: gpu.device().create_buffer(&descriptor), end: None }))
    }

    /// Starts to read a buffer or, if a read has started, returns its result once it is complete.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] if the device is lost.
    pub fn step(&mut self, gpu: &Gpu, buffer: &wgpu::Buffer, offset: usize) -> Result<Option<Vec<u32>>> {
        let Some(end) = &self.end else {
            let begun = gpu.scoped("reading back", || Ok(self.begin(gpu, buffer, offset)));
            self.end = Some(begun.map_err(|error| match error {
                // Reading has no parameters that could be invalid, so an invalid buffer means that a host
                // application's device was lost. percept's callback does not see that loss.
                Error::Shader(m) => gpu.lose(m.got),
                other => other,
            })?);
            return Ok(None);
        };
        gpu.poll()?;
        if !end.check(|| gpu.lose("a buffer that was not read"))? {
            return Ok(None);
        }
        self.end = None;
        let view = self.staging.get_mapped_range(..).map_err(|error| gpu.lose(error))?;
        let words = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        self.staging.unmap();
        Ok(Some(words))
    }

    fn begin(&self, gpu: &Gpu, buffer: &wgpu::Buffer, offset: usize) -> End {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, offset as u64, &self.staging, 0, self.staging.size());
        gpu.queue().submit([encoder.finish()]);
        let end = End::default();
        let teller = end.teller();
        self.staging.map_async(wgpu::MapMode::Read, .., move |mapped| teller.tell(mapped.is_ok()));
        end
    }
}
