//! Pipelines: made once per shader and override constants, in parallel, and kept on disk between runs where the
//! driver can.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use percept_shaders::Shader;

use super::context::{Gpu, lock, scoped};
use super::disk_cache::DiskCache;
use super::dispatch::{Dispatch, TRUSTED, dispatches};
use crate::program::{Op, Program};
use crate::{Error, Result};

/// What a pipeline is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    shader: Shader,
    /// Override constants, by name; their values as bits, so that keys can be compared.
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

impl Gpu {
    /// Makes the pipelines of a program that are not there yet, ahead of its loading: what first use costs beside
    /// weights. [`GpuExecutor::new`](super::GpuExecutor::new) does so itself.
    ///
    /// # Errors
    /// [`Error::Shader`], [`Error::DeviceLost`]; [`Error::OutOfMemory`] where a kernel does not fit the device's limits.
    pub fn prepare(&self, program: &Program) -> Result<()> {
        self.prepared(program).map(|_| ())
    }

    /// The dispatches of every op.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where a kernel does not fit the device's limits.
    pub(super) fn planned(&self, program: &Program) -> Result<Vec<Vec<Dispatch>>> {
        let of_op = |op: &Op| {
            let dispatches = dispatches(&op.kernel, &program.bindings(op), self.profile());
            dispatches.map_err(|error| error.within(&op.layer))
        };
        program.ops().iter().map(of_op).collect()
    }

    /// The same, with their pipelines made.
    ///
    /// # Errors
    /// As [`Gpu::prepare`].
    pub(super) fn prepared(&self, program: &Program) -> Result<Vec<Vec<Dispatch>>> {
        self.is_lost()?;
        let planned = self.planned(program)?;
        self.pipelines().prepare(self.device(), &planned.iter().flatten().collect::<Vec<_>>())?;
        Ok(planned)
    }
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

    /// How many have been made.
    pub fn count(&self) -> usize {
        lock(&self.made).len()
    }

    /// Makes the pipelines of these dispatches that are not there yet, on as many threads as there are cores.
    ///
    /// # Errors
    /// [`Error::Shader`] where the driver refuses one, with its variant.
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

    /// The pipeline of a dispatch, which [`Pipelines::prepare`] has made.
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
            let module = if TRUSTED.contains(&shader.kernel) {
                // SAFETY: every index of these kernels is tested by the kernel itself, every loop ends, and no workgroup
                // memory is read before it is written: what `TRUSTED` says, and its tests show.
                unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
            } else {
                device.create_shader_module(descriptor)
            };
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
                    zero_initialize_workgroup_memory: !TRUSTED.contains(&shader.kernel),
                },
                cache: self.cache.as_ref().map(DiskCache::cache),
            });
            Ok(Pipeline { pipeline, layout })
        })
    }
}
