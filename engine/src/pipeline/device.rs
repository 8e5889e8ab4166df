//! Devices by name, and loading a program onto one.

use std::sync::Arc;

use crate::cpu::Cpu;
#[cfg(feature = "gpu")]
use crate::gpu::{Adapter, Gpu, GpuExecutor, GpuWeights};
use crate::program::{Executor, HostBackend, HostExecutor, HostWeights, Memory, Program, Reference};
use crate::weights::WeightSource;
use crate::{Error, Precision, Result};

/// Something that runs programs, and the precision that it stores their values in.
#[derive(Clone)]
pub struct Device {
    runs: Runs,
    precision: Precision,
}

/// What runs them.
#[derive(Clone)]
enum Runs {
    /// All cores and the machine's vector instructions.
    Cpu(Cpu),
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
    /// The kernels' twins: slow, and right.
    Reference,
}

impl From<Runs> for Device {
    fn from(runs: Runs) -> Self {
        Device { runs, precision: Precision::F32 }
    }
}

impl From<Cpu> for Device {
    fn from(cpu: Cpu) -> Self {
        Runs::Cpu(cpu).into()
    }
}

#[cfg(feature = "gpu")]
impl From<Gpu> for Device {
    fn from(gpu: Gpu) -> Self {
        Runs::Gpu(gpu).into()
    }
}

/// A model's weights on a device, which all its programs share.
#[derive(Clone)]
pub(crate) enum DeviceWeights {
    Host(Arc<HostWeights>),
    #[cfg(feature = "gpu")]
    Gpu(Arc<GpuWeights>),
}

/// What [`Device::named`] would open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
}

impl Device {
    /// The device of a name:
    ///
    /// - `cpu`
    /// - `reference`: the kernels' twins
    /// - `gpu`, or a part of an adapter's name, with or without its backend: `vulkan:`, `metal:`, `dx12:`, `gl:`
    /// - `auto`: a hardware GPU where there is one, else the CPU
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "auto" => match hardware() {
                Some(device) => Ok(device),
                None => Device::cpu(),
            },
            "cpu" => Device::cpu(),
            "reference" => Ok(Device::reference()),
            _ => gpu(name),
        }
    }

    /// The CPU, with as many threads as it has cores.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where threads cannot be started.
    pub fn cpu() -> Result<Self> {
        Cpu::new(None).map(Device::from)
    }

    /// The kernels' twins: slow, and right.
    pub fn reference() -> Self {
        Runs::Reference.into()
    }

    /// The same device, on which models are loaded, and programs measured, in `precision`; a device of its own is
    /// [`Precision::F32`].
    pub fn with_precision(self, precision: Precision) -> Self {
        Device { precision, ..self }
    }

    /// What weights and activations are stored in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether what runs programs is the host.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self.runs, Runs::Cpu(_) | Runs::Reference)
    }

    /// The GPU, if it is one.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&Gpu> {
        if let Runs::Gpu(gpu) = &self.runs { Some(gpu) } else { None }
    }

    /// A program as this device stores it.
    fn stored(&self, program: &Arc<Program>) -> Arc<Program> {
        match program.precision() == self.precision {
            true => program.clone(),
            false => Arc::new(program.stored_in(self.precision)),
        }
    }

    /// All devices of this machine.
    ///
    /// # Errors
    /// As [`Device::cpu`].
    pub fn all() -> Result<Vec<Available>> {
        let mut all = adapters();
        for device in [Device::cpu()?, Device::reference()] {
            all.push(Available { name: device.name(), description: device.description() });
        }
        Ok(all)
    }

    /// Its name, as [`Device::named`] takes it.
    pub fn name(&self) -> String {
        match &self.runs {
            Runs::Cpu(_) => "cpu".into(),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.name(),
            Runs::Reference => "reference".into(),
        }
    }

    /// What it is, for people.
    pub fn description(&self) -> String {
        match &self.runs {
            Runs::Cpu(cpu) => cpu.description(),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.description(),
            Runs::Reference => "the kernels' twins in plain loops, one thread: slow, for checks".into(),
        }
    }

    /// Loads a program and its weights.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity, or the device fails.
    pub fn load(&self, program: Arc<Program>, source: &dyn WeightSource) -> Result<Box<dyn Executor>> {
        let program = self.stored(&program);
        let weights = self.load_weights(&program, source)?;
        self.executor(program, &weights)
    }

    /// Loads the weights of a program, for this and others of the same model.
    ///
    /// # Errors
    /// As [`Device::load`].
    pub(crate) fn load_weights(&self, program: &Arc<Program>, source: &dyn WeightSource) -> Result<DeviceWeights> {
        let program = &self.stored(program);
        Ok(match &self.runs {
            Runs::Cpu(cpu) => DeviceWeights::Host(Arc::new(HostWeights::load(program, source, &cpu.backend())?)),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => DeviceWeights::Gpu(Arc::new(GpuWeights::load(gpu, program, source)?)),
            Runs::Reference => DeviceWeights::Host(Arc::new(HostWeights::load(program, source, &Reference)?)),
        })
    }

    /// Loads a program whose weights were loaded onto this device before.
    ///
    /// # Errors
    /// As [`Device::load`]; where the weights are another device's, or another model's.
    pub(crate) fn executor(&self, program: Arc<Program>, weights: &DeviceWeights) -> Result<Box<dyn Executor>> {
        let program = self.stored(&program);
        Ok(match (&self.runs, weights) {
            (Runs::Cpu(cpu), DeviceWeights::Host(weights)) => {
                Box::new(HostExecutor::with_weights(program, weights.clone(), cpu.backend())?)
            }
            (Runs::Reference, DeviceWeights::Host(weights)) => {
                Box::new(HostExecutor::with_weights(program, weights.clone(), Reference)?)
            }
            #[cfg(feature = "gpu")]
            (Runs::Gpu(gpu), DeviceWeights::Gpu(weights)) => {
                Box::new(GpuExecutor::with_weights(gpu, program, weights.clone())?)
            }
            #[cfg(feature = "gpu")]
            _ => return Err(Error::device(self.name(), "weights loaded onto it", "another device's")),
        })
    }

    /// What a program takes on it, before it is loaded: what its executor will say that it holds.
    ///
    /// # Errors
    /// Where a kernel does not fit the device's limits.
    pub fn memory(&self, program: &Program) -> Result<Memory> {
        let program = &program.stored_in(self.precision);
        Ok(match &self.runs {
            Runs::Cpu(cpu) => cpu.backend().memory(program),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.memory(program)?,
            Runs::Reference => Reference.memory(program),
        })
    }

    /// Makes what is to be compiled for a program ahead of its loading: a GPU's pipelines.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn prepare(&self, program: &Program) -> Result<()> {
        match &self.runs {
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.prepare(&program.stored_in(self.precision)),
            Runs::Cpu(_) | Runs::Reference => {
                // The host's kernels were compiled with percept.
                let _ = program;
                Ok(())
            }
        }
    }

    /// Pipelines made for it so far; 0 on the host, which has none.
    pub fn pipeline_count(&self) -> usize {
        match &self.runs {
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.pipeline_count(),
            Runs::Cpu(_) | Runs::Reference => 0,
        }
    }

    /// The most bytes that one value of a program may have on it.
    pub(crate) fn max_value_bytes(&self) -> usize {
        match &self.runs {
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.max_value_bytes(),
            Runs::Cpu(_) | Runs::Reference => usize::MAX,
        }
    }
}

/// The first hardware GPU that gives a device.
#[cfg(feature = "gpu")]
fn hardware() -> Option<Device> {
    let adapters = Adapter::all();
    adapters
        .iter()
        .filter(|adapter| !adapter.is_software())
        .find_map(|adapter| Gpu::open(adapter).ok())
        .map(Device::from)
}

#[cfg(not(feature = "gpu"))]
fn hardware() -> Option<Device> {
    None
}

#[cfg(feature = "gpu")]
fn gpu(name: &str) -> Result<Device> {
    Gpu::open(&Adapter::named(name)?).map(Device::from)
}

#[cfg(not(feature = "gpu"))]
fn gpu(name: &str) -> Result<Device> {
    Err(Error::device("device", "auto, cpu or reference (percept was built without its feature gpu)", name))
}

#[cfg(feature = "gpu")]
fn adapters() -> Vec<Available> {
    let describe = |adapter: &Adapter| Available { name: adapter.name(), description: adapter.description() };
    Adapter::all().iter().map(describe).collect()
}

#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<Available> {
    Vec::new()
}
