//! Waiting for the device, and reading what it computed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::context::Gpu;
use crate::{Error, Result};

impl Gpu {
    /// Waits for a submit, or for all of them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] where the device does not answer.
    pub(super) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.ask(wgpu::PollType::Wait { submission_index, timeout: None })
    }

    /// Lets the device tell what has ended; does not wait.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub(super) fn poll(&self) -> Result<()> {
        self.ask(wgpu::PollType::Poll)
    }

    fn ask(&self, how: wgpu::PollType) -> Result<()> {
        let answer = self.device().poll(how);
        self.is_lost()?;
        answer.map(|_| ()).map_err(|error| self.unanswered(error))
    }

    /// The error of a device that gives nothing back.
    pub(super) fn unanswered(&self, got: impl ToString) -> Error {
        Error::device_lost(self.name(), "a device that answers", got)
    }

    /// Reads some bytes of a buffer, after all that was submitted before.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub(super) fn read(&self, buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> Result<Vec<u32>> {
        let mut reading = Reading::new(self, bytes)?;
        reading.step(self, buffer, offset)?;
        self.wait(None)?;
        reading.step(self, buffer, offset)?.ok_or_else(|| self.lose("a buffer that does not come"))
    }
}

/// Whether the device has ended something, which a callback tells.
#[derive(Default)]
pub(super) struct End(Arc<AtomicU8>);

/// What a callback tells it with. One that is dropped, and never called, tells that it will not come.
pub(super) struct Teller(Arc<AtomicU8>);

impl Teller {
    /// It came, or never will.
    pub fn tell(self, came: bool) {
        self.0.store(if came { End::CAME } else { End::FAILED }, Ordering::Release);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // Not where it was told before.
        let _ = self.0.compare_exchange(End::OPEN, End::FAILED, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl End {
    const OPEN: u8 = 0;
    const FAILED: u8 = 1;
    const CAME: u8 = 2;

    /// For the callback.
    pub fn teller(&self) -> Teller {
        Teller(self.0.clone())
    }

    /// Whether it is known that it came, or never will.
    pub fn is_known(&self) -> bool {
        self.0.load(Ordering::Acquire) != Self::OPEN
    }

    /// Whether it came.
    ///
    /// # Errors
    /// The error that `failed` returns, if it never comes.
    pub fn check(&self, failed: impl FnOnce() -> Error) -> Result<bool> {
        match self.0.load(Ordering::Acquire) {
            Self::FAILED => Err(failed()),
            state => Ok(state == Self::CAME),
        }
    }
}

/// A buffer's way back to the host, used again and again.
pub(super) struct Reading {
    staging: wgpu::Buffer,
    /// None while nothing is being read.
    end: Option<End>,
}

impl Reading {
    /// Of so many bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
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

    /// Begins to read a buffer, or gives what has come of it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn step(&mut self, gpu: &Gpu, buffer: &wgpu::Buffer, offset: usize) -> Result<Option<Vec<u32>>> {
        let Some(end) = &self.end else {
            let begun = gpu.scoped("reading back", || Ok(self.begin(gpu, buffer, offset)));
            self.end = Some(begun.map_err(|error| match error {
                // Nothing here depends on what is read. A buffer that is none is that of a device that was lost: a
                // host's, whose callback is not ours.
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
