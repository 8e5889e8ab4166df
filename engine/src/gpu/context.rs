//! A GPU: an adapter's device and queue, percept's own or a host's.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::dispatch::Profile;
use super::pipelines::Pipelines;
use crate::{Error, Result};

/// A GPU, and the pipelines made for it, which all programs loaded onto it share.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub profile: Profile,
    pub pipelines: Pipelines,
    info: wgpu::AdapterInfo,
    /// Why the device was lost, once it was.
    lost: Arc<OnceLock<String>>,
}

/// An adapter that percept could run on.
#[derive(Clone, Debug)]
pub struct Adapter {
    adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

impl Adapter {
    /// All adapters of this machine: hardware first, then in the order Vulkan, Metal, DX12, GL.
    pub fn all() -> Vec<Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            // Without the validation layers: the kernels are validated when percept is built.
            flags: wgpu::InstanceFlags::empty().with_env(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let mut adapters: Vec<Adapter> =
            found.into_iter().map(|adapter| Adapter { info: adapter.get_info(), adapter }).collect();
        let order = |backend| match backend {
            wgpu::Backend::Vulkan => 0,
            wgpu::Backend::Metal => 1,
            wgpu::Backend::Dx12 => 2,
            _ => 3,
        };
        adapters.sort_by_key(|adapter| (adapter.is_software(), order(adapter.info.backend)));
        adapters
    }

    /// The first adapter of a name: `gpu` (any), a part of an adapter's name in any case, or either of a
    /// backend: `vulkan:`, `metal:`, `dx12:`, `gl:` and a part of a name, which may be empty.
    ///
    /// # Errors
    /// [`Error::Device`] with the names that there are.
    pub fn named(name: &str) -> Result<Adapter> {
        let adapters = Adapter::all();
        let (backend, part) = match name.split_once(':') {
            Some((backend, part)) => (Some(backend.to_lowercase()), part.to_lowercase()),
            None => (None, if name == "gpu" { String::new() } else { name.to_lowercase() }),
        };
        let matches = |adapter: &&Adapter| {
            backend.as_deref().is_none_or(|backend| backend == adapter.backend())
                && adapter.info.name.to_lowercase().contains(&part)
        };
        adapters.iter().find(matches).cloned().ok_or_else(|| {
            let names: Vec<String> = adapters.iter().map(Adapter::name).collect();
            let there = if names.is_empty() { "no GPU was found".to_string() } else { names.join(", ") };
            Error::device("device", format!("auto, cpu, reference, gpu or a part of an adapter's name ({there})"), name)
        })
    }

    /// Its name, as [`Adapter::named`] takes it: `vulkan:NVIDIA GeForce RTX 4090`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.backend(), self.info.name)
    }

    /// What it is, for people: its kind and driver.
    pub fn description(&self) -> String {
        description(&self.info)
    }

    /// Whether it is a CPU that plays a GPU.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    fn backend(&self) -> &'static str {
        backend(&self.info)
    }
}

/// The backend's name on the command line.
fn backend(info: &wgpu::AdapterInfo) -> &'static str {
    match info.backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
        wgpu::Backend::Noop => "noop",
    }
}

fn description(info: &wgpu::AdapterInfo) -> String {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "a graphics card",
        wgpu::DeviceType::IntegratedGpu => "a GPU beside the CPU",
        wgpu::DeviceType::VirtualGpu => "a virtual GPU",
        wgpu::DeviceType::Cpu => "a software adapter: slow, for checks",
        wgpu::DeviceType::Other => "an adapter of unknown kind",
    };
    format!("{kind}; {} {}", info.driver, info.driver_info).trim_end().to_string()
}

/// The features that percept uses where an adapter has them; it needs none. For a host that makes the
/// device itself.
pub fn required_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let used = wgpu::Features::PIPELINE_CACHE | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
    adapter.features() & (used | wgpu::Features::SHADER_F16)
}

/// The limits that percept asks an adapter for: the defaults, with the largest buffers and bindings that the adapter
/// has. percept works with the defaults themselves, too.
pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let offered = adapter.limits();
    let defaults = wgpu::Limits::default();
    wgpu::Limits {
        max_buffer_size: offered.max_buffer_size.max(defaults.max_buffer_size),
        max_storage_buffer_binding_size: offered
            .max_storage_buffer_binding_size
            .max(defaults.max_storage_buffer_binding_size),
        ..defaults
    }
}

impl Gpu {
    /// A device of its own on an adapter, with [`required_features`] and [`required_limits`].
    ///
    /// # Errors
    /// [`Error::Device`] where the adapter gives no such device.
    pub fn open(adapter: &Adapter) -> Result<Gpu> {
        let (features, limits) = (required_features(&adapter.adapter), required_limits(&adapter.adapter));
        Gpu::open_with(adapter, features, limits)
    }

    /// A device of its own on an adapter, with these features and limits. percept runs at wgpu's default limits
    /// and without any feature.
    ///
    /// # Errors
    /// As [`Gpu::open`].
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
            // Its being dropped with the last Gpu is no loss. Only the first reason counts.
            let _ = reason.set(format!("{why:?} {message}"));
        });
        Ok(Gpu::new(device, queue, lost))
    }

    /// A device of its own that takes the variants of shaders that another one would take, of the profile that `change`
    /// makes of its own: so that a machine without such a device tests them. What the device itself cannot is refused when
    /// a program is loaded.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open_as(adapter: &Adapter, change: impl FnOnce(Profile) -> Profile) -> Result<Gpu> {
        let Inner { device, queue, profile, info, lost, .. } = &*Gpu::open(adapter)?.inner;
        let profile = change(*profile);
        let (device, queue, info, lost) = (device.clone(), queue.clone(), info.clone(), lost.clone());
        let pipelines = Pipelines::new(&device, &info);
        Ok(Gpu { inner: Arc::new(Inner { device, queue, profile, pipelines, info, lost }) })
    }

    /// A host's device and queue. Its handlers of errors and of a lost device stay as they are.
    pub fn from_wgpu(device: &wgpu::Device, queue: &wgpu::Queue) -> Gpu {
        Gpu::new(device.clone(), queue.clone(), Arc::default())
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue, lost: Arc<OnceLock<String>>) -> Gpu {
        let info = device.adapter_info();
        let limits = device.limits();
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let profile = Profile {
            software,
            native_f16: device.features().contains(wgpu::Features::SHADER_F16),
            subgroups: software && device.features().contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size >= 8,
            max_binding_bytes: limits.max_storage_buffer_binding_size as usize,
            max_buffer_bytes: limits.max_buffer_size as usize,
        };
        let pipelines = Pipelines::new(&device, &info);
        Gpu { inner: Arc::new(Inner { device, queue, profile, pipelines, info, lost }) }
    }

    /// Its name, as [`Adapter::named`] takes it.
    pub fn name(&self) -> String {
        format!("{}:{}", backend(&self.inner.info), self.inner.info.name)
    }

    /// What it is, for people.
    pub fn description(&self) -> String {
        description(&self.inner.info)
    }

    /// What the choice of tiles depends on.
    pub fn profile(&self) -> &Profile {
        &self.inner.profile
    }

    /// The most bytes that one value of a program may have: a buffer's, less the guard zone after it.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.inner.profile.max_buffer_bytes - super::memory::GUARD
    }

    /// The device, which may be shared with other users of wgpu.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The queue of [`Gpu::device`].
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }

    /// Pipelines made so far.
    pub fn pipeline_count(&self) -> usize {
        self.inner.pipelines.count()
    }

    /// Refuses a device that was lost.
    pub(super) fn is_lost(&self) -> Result<()> {
        match self.inner.lost.get() {
            Some(why) => Err(Error::device_lost(self.name(), "a device that answers", why)),
            None => Ok(()),
        }
    }

    /// Remembers that the device is lost, and returns the error that says so.
    ///
    /// wgpu reports the loss of a host's device to its host alone. percept infers it from work that never ends, and must
    /// remember it because many calls on a lost device succeed.
    pub(super) fn lose(&self, why: impl ToString) -> Error {
        let why = why.to_string();
        // Only the first reason counts.
        let _ = self.inner.lost.set(why.clone());
        self.unanswered(why)
    }

    /// Runs `work` and turns what wgpu reports meanwhile on this thread into an error. No handler of the host hears
    /// of it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Shader`] or [`Error::DeviceLost`], at `at`; what `work` fails with.
    pub(super) fn scoped<T>(&self, at: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = scoped(&self.inner.device, at, work);
        if result.is_err() {
            // The loss of a device is told when it is polled; till then all that is seen is that its buffers are none.
            let _ = self.inner.device.poll(wgpu::PollType::Poll);
        }
        self.is_lost().and(result)
    }
}

/// See [`Gpu::scoped`].
pub(super) fn scoped<T>(device: &wgpu::Device, at: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory];
    let mut scopes = filters.map(|filter| Some(device.push_error_scope(filter)));
    let result = work();
    // The last pushed is the first popped.
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

/// A lock whose holder's panic leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
