//! Pipelines. Each is made once per shader and set of override constants, in parallel with others, and is stored on
//! disk between runs if the driver supports it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use percept_shaders::Shader;

use super::disk_cache::DiskCache;
use super::dispatch::Dispatch;
use super::scope::{lock, scoped};
use crate::{Error, Result};

/// The shader and constants that identify a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    shader: Shader,
    /// The override constants, by name. Their values are stored as bits, so that keys can be compared.
    overrides: Vec<(&'static str, u64)>,
}

/// A pipeline and the layout of its bind group.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// The pipelines of a device.
pub(super) struct Pipelines {
    made: Mutex<BTreeMap<Key, Arc<Pipeline>>>,
    cache: Option<DiskCache>,
}

impl Key {
    fn of(dispatch: &Dispatch) -> Self {
        let overrides = dispatch.overrides.iter().map(|&(name, value)| (name, value.to_bits())).collect();
        Key { shader: dispatch.shader.clone(), overrides }
    }
}

impl Pipelines {
    pub fn new(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Self {
        Pipelines { made: Mutex::default(), cache: DiskCache::open(device, info) }
    }

    /// Returns the number of pipelines made so far.
    pub fn count(&self) -> usize {
        lock(&self.made).len()
    }

    /// Makes the pipelines of these dispatches that do not exist yet, on as many threads as there are cores.
    ///
    /// # Errors
    /// Returns [`Error::Shader`], with the variant, if the driver rejects one.
    pub fn prepare(&self, device: &wgpu::Device, dispatches: &[&Dispatch]) -> Result<()> {
        let missing: BTreeMap<Key, &Dispatch> = {
            let made = lock(&self.made);
            let keyed = dispatches.iter().map(|dispatch| (Key::of(dispatch), *dispatch));
            keyed.filter(|(key, _)| !made.contains_key(key)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<(Key, &Dispatch)> = missing.into_iter().collect();
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some((key, dispatch)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let pipeline = self.make(device, dispatch)?;
                lock(&self.made).insert(key.clone(), Arc::new(pipeline));
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(Error::shader("pipelines", "no panic in the driver", "one")))
            })
        })?;
        if let Some(cache) = &self.cache {
            cache.save();
        }
        Ok(())
    }

    /// Returns the pipeline of a dispatch, which [`Pipelines::prepare`] must have made.
    pub fn get(&self, dispatch: &Dispatch) -> Result<Arc<Pipeline>> {
        let made = lock(&self.made).get(&Key::of(dispatch)).cloned();
        made.ok_or_else(|| Error::shader(dispatch.shader.label(), "a pipeline that was prepared", "none"))
    }

    fn make(&self, device: &wgpu::Device, dispatch: &Dispatch) -> Result<Pipeline> {
        let shader = &dispatch.shader;
        let label = shader.label();
        let source = shader.source().map_err(|error| Error::shader(&label, "WGSL", error))?;
        let numbers = dispatch.binding_numbers()?;
        scoped(device, &label, || {
            let descriptor =
                wgpu::ShaderModuleDescriptor { label: Some(&label), source: wgpu::ShaderSource::Wgsl(source.into()) };
            // SAFETY: the kernels check every index themselves, all their loops end, and they write workgroup memory
            // before they read it. `tests/kernels/devices.rs` runs the cases of every kernel in the table with
            // poisoned buffers, followed by guard zones. The checks that wgpu would add make some kernels several
            // times slower.
            let module =
                unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
            let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            };
            let storage = |&(number, written): &(u32, bool)| {
                entry(number, wgpu::BufferBindingType::Storage { read_only: !written })
            };
            let entries: Vec<_> =
                [entry(0, wgpu::BufferBindingType::Uniform)].into_iter().chain(numbers.iter().map(storage)).collect();
            let layout = device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                ..wgpu::PipelineLayoutDescriptor::default()
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &dispatch.overrides,
                    // Every element is written before it is read.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.cache.as_ref().map(DiskCache::cache),
            });
            Ok(Pipeline { pipeline, layout })
        })
    }
}
