//! Adapters: how to find and name them, and the features and limits that percept requests from them.

use crate::{Error, Result};

/// An adapter that percept can run on.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(super) adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

impl Adapter {
    /// Lists all adapters of this machine: hardware first, then in the order Vulkan, Metal, DX12, GL.
    pub fn all() -> Vec<Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            // Without the validation layers, because the kernels are validated when percept is built.
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

    /// Returns the first adapter that matches a name: `gpu` (any adapter), a part of an adapter's name in any case,
    /// or a backend (`vulkan:`, `metal:`, `dx12:`, `gl:`) followed by a part of a name, which may be empty.
    ///
    /// # Errors
    /// Returns [`Error::Device`] with the names of all adapters if none matches.
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

    /// Returns the adapter's name, as [`Adapter::named`] accepts it: `vulkan:NVIDIA GeForce RTX 4090`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.backend(), self.info.name)
    }

    /// Returns a human-readable description: the adapter's kind and driver.
    pub fn description(&self) -> String {
        description(&self.info)
    }

    /// Returns true for software adapters such as lavapipe.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    fn backend(&self) -> &'static str {
        backend(&self.info)
    }
}

/// Returns the backend's name on the command line.
pub(super) fn backend(info: &wgpu::AdapterInfo) -> &'static str {
    match info.backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
        wgpu::Backend::Noop => "noop",
    }
}

pub(super) fn description(info: &wgpu::AdapterInfo) -> String {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "a graphics card",
        wgpu::DeviceType::IntegratedGpu => "a GPU beside the CPU",
        wgpu::DeviceType::VirtualGpu => "a virtual GPU",
        wgpu::DeviceType::Cpu => "a software adapter: slow, for checks",
        wgpu::DeviceType::Other => "an adapter of unknown kind",
    };
    format!("{kind}; {} {}", info.driver, info.driver_info).trim_end().to_string()
}

/// Returns the features that percept uses if an adapter supports them. It requires none. This is for host
/// applications that open the device themselves.
pub fn required_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let used = wgpu::Features::PIPELINE_CACHE | wgpu::Features::TIMESTAMP_QUERY;
    adapter.features() & (used | wgpu::Features::SHADER_F16)
}

/// Returns the limits that percept requests from an adapter: the defaults, with the adapter's largest sizes of
/// buffers and bindings. percept also works with the defaults alone.
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
