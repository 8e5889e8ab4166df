//! A GPU: a device and queue that percept opens on an adapter, or those of a host application.

use std::sync::{Arc, OnceLock};

use super::adapter::{Adapter, backend, description, required_features, required_limits};
use super::dispatch::Capabilities;
use super::pipelines::Pipelines;
use super::scope::scoped;
use crate::{Error, Result};

/// A GPU with the pipelines made for it, which all programs loaded onto it share.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub capabilities: Capabilities,
    pub pipelines: Pipelines,
    info: wgpu::AdapterInfo,
    /// The reason that the device was lost, if it was.
    lost: Arc<OnceLock<String>>,
}

impl Gpu {
    /// Opens a device on an adapter, with [`required_features`] and [`required_limits`].
    ///
    /// # Errors
    /// Returns [`Error::Device`] if the adapter does not provide such a device.
    pub fn open(adapter: &Adapter) -> Result<Gpu> {
        let (features, limits) = (required_features(&adapter.adapter), required_limits(&adapter.adapter));
        Gpu::open_with(adapter, features, limits)
    }

    /// Opens a device on an adapter, with the given features and limits. percept runs at wgpu's default limits and
    /// without any optional feature.
    ///
    /// # Errors
    /// See [`Gpu::open`].
    pub fn open_with(
        adapter: &Adapter,
        required_features: wgpu::Features,
        required_limits: wgpu::Limits,
    ) -> Result<Gpu> {
        let request = adapter.adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("percept"),
            required_features,
            required_limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        });
        let (device, queue) = pollster::block_on(request)
            .map_err(|error| Error::device(adapter.name(), "a device of these features and limits", error))?;
        let lost = Arc::new(OnceLock::new());
        let reason = lost.clone();
        device.set_device_lost_callback(move |why, message| {
            // wgpu also calls this when the device is dropped with the last Gpu, which does no harm. Only the first
            // reason counts.
            let _ = reason.set(format!("{why:?} {message}"));
        });
        Ok(Gpu::new(device, queue, lost))
    }

    /// Opens a device with modified capabilities: `change` receives the device's own and returns the ones to use.
    /// Tests use this to run the shader variants of devices that the machine does not have. If the device does not
    /// support a variant, loading a program fails.
    ///
    /// # Errors
    /// See [`Gpu::open`].
    pub fn open_as(adapter: &Adapter, change: impl FnOnce(Capabilities) -> Capabilities) -> Result<Gpu> {
        let Inner { device, queue, capabilities, info, lost, .. } = &*Gpu::open(adapter)?.inner;
        let capabilities = change(*capabilities);
        let (device, queue, info, lost) = (device.clone(), queue.clone(), info.clone(), lost.clone());
        let pipelines = Pipelines::new(&device, &info);
        Ok(Gpu { inner: Arc::new(Inner { device, queue, capabilities, pipelines, info, lost }) })
    }

    /// Wraps the device and queue of a host application, whose handlers for errors and for a lost device are left in
    /// place.
    pub fn from_wgpu(device: &wgpu::Device, queue: &wgpu::Queue) -> Gpu {
        Gpu::new(device.clone(), queue.clone(), Arc::default())
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue, lost: Arc<OnceLock<String>>) -> Gpu {
        let info = device.adapter_info();
        let limits = device.limits();
        let capabilities = Capabilities {
            native_f16: device.features().contains(wgpu::Features::SHADER_F16),
            max_binding_bytes: limits.max_storage_buffer_binding_size as usize,
            max_buffer_bytes: limits.max_buffer_size as usize,
        };
        let pipelines = Pipelines::new(&device, &info);
        Gpu { inner: Arc::new(Inner { device, queue, capabilities, pipelines, info, lost }) }
    }

    /// Returns the device's name, as [`Adapter::named`] accepts it.
    pub fn name(&self) -> String {
        format!("{}:{}", backend(&self.inner.info), self.inner.info.name)
    }

    /// Returns a human-readable description.
    pub fn description(&self) -> String {
        description(&self.inner.info)
    }

    /// True for software adapters such as lavapipe.
    pub fn is_software(&self) -> bool {
        self.inner.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Returns the capabilities that dispatches depend on.
    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// Returns the device, which may be shared with other users of wgpu.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// Returns the queue of [`Gpu::device`].
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }

    /// Returns the number of pipelines made so far.
    pub fn pipeline_count(&self) -> usize {
        self.inner.pipelines.count()
    }

    /// Returns an error if the device was lost.
    pub(super) fn is_lost(&self) -> Result<()> {
        match self.inner.lost.get() {
            Some(why) => Err(Error::device_lost(self.name(), "a device that answers", why)),
            None => Ok(()),
        }
    }

    /// Records that the device is lost, and returns the corresponding error.
    ///
    /// wgpu reports the loss of a host application's device only to that application. percept infers the loss from
    /// work that never ends, and must remember it because many calls on a lost device succeed.
    pub(super) fn lose(&self, why: impl ToString) -> Error {
        let why = why.to_string();
        // Only the first reason counts.
        let _ = self.inner.lost.set(why.clone());
        self.unanswered(why)
    }

    /// Runs `work` and turns the errors that wgpu reports on this thread into an error. The host application's
    /// handlers do not receive them.
    ///
    /// # Errors
    /// Returns [`Error::OutOfMemory`], [`Error::Shader`] or [`Error::DeviceLost`], at `at`, or the error of `work`.
    pub(super) fn scoped<T>(&self, at: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = scoped(&self.inner.device, at, work);
        if result.is_err() {
            // wgpu reports the loss of a device only when the device is polled. Until then, its buffers are merely
            // invalid.
            let _ = self.inner.device.poll(wgpu::PollType::Poll);
        }
        self.is_lost().and(result)
    }
}
