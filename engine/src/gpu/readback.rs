//! Waiting for the device, and reading what it computed.

use std::sync::mpsc::channel;

use super::context::Gpu;
use crate::{Error, Result};

impl Gpu {
    /// Waits for a submit, or for all of them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] where the device does not answer.
    pub(super) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index, timeout: None };
        let answer = self.device().poll(poll);
        self.is_lost()?;
        answer.map(|_| ()).map_err(|error| Error::device_lost(self.name(), "a device that answers", error))
    }

    /// Lets the device tell what has ended; does not wait.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub(super) fn poll(&self) -> Result<()> {
        let answer = self.device().poll(wgpu::PollType::Poll);
        self.is_lost()?;
        answer.map(|_| ()).map_err(|error| Error::device_lost(self.name(), "a device that answers", error))
    }

    /// Reads some bytes of a buffer, after all that was submitted before.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub(super) fn read(&self, buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> Result<Vec<u32>> {
        self.is_lost()?;
        self.scoped("reading back", || {
            let staging = self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("reading back"),
                size: bytes as u64,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            });
            let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, offset as u64, &staging, 0, bytes as u64);
            let index = self.queue().submit([encoder.finish()]);
            let (sender, receiver) = channel();
            // Nobody listens any more where the wait failed.
            staging.map_async(wgpu::MapMode::Read, .., move |mapped| drop(sender.send(mapped)));
            self.wait(Some(index))?;
            let unread = |error: &dyn std::fmt::Display| Error::device_lost(self.name(), "a buffer to read", error);
            receiver.try_recv().map_err(|error| unread(&error))?.map_err(|error| unread(&error))?;
            let view = staging.get_mapped_range(..).map_err(|error| unread(&error))?;
            Ok(bytemuck::pod_collect_to_vec(&view))
        })
        .map_err(|error| match error {
            // Nothing here depends on what is read. A buffer that is none is that of a device that was lost: a host's,
            // whose callback is not ours.
            Error::Shader(m) => Error::device_lost(self.name(), "a device that answers", m.got),
            other => other,
        })
    }
}
