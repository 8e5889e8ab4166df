//! Opening devices by name, and loading programs onto them.

use std::sync::Arc;

use super::cpu::Cpu;
#[cfg(feature = "gpu")]
use super::gpu::{Adapter, Gpu, GpuExecutor, GpuWeights};
use super::{Executor, HostBackend, HostExecutor, HostWeights, Reference};
use crate::program::{Memory, Program};
use crate::weights::WeightSource;
use crate::{Error, Precision, Result};

/// A device that runs programs, with the precision that it stores their values in.
#[derive(Clone)]
pub struct Device {
    runs: Runs,
    precision: Precision,
}

/// The kinds of device.
#[derive(Clone)]
enum Runs {
    /// All cores, with the machine's vector instructions.
    Cpu(Cpu),
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
    /// The kernels' twins: slow, but correct.
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

/// A model's weights on a device, shared by all of the model's programs.
#[derive(Clone)]
pub(crate) enum DeviceWeights {
    Host(Arc<HostWeights>),
    #[cfg(feature = "gpu")]
    Gpu(Arc<GpuWeights>),
}

/// A device that [`Device::named`] can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// The name that [`Device::named`] accepts.
    pub name: String,
    /// A human-readable description.
    pub description: String,
}

impl Device {
    /// Opens a device by name:
    ///
    /// - `cpu`
    /// - `reference`: the kernels' twins
    /// - `gpu`, or a part of an adapter's name, with or without its backend: `vulkan:`, `metal:`, `dx12:`, `gl:`
    /// - `auto`: a hardware GPU if there is one, otherwise the CPU
    ///
    /// # Errors
    /// Returns [`Error::Device`](crate::Error::Device) if no device has that name.
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

    /// Opens the CPU, with one thread per core.
    ///
    /// # Errors
    /// Returns [`Error::Device`](crate::Error::Device) if the threads cannot be started.
    pub fn cpu() -> Result<Self> {
        Cpu::new(None).map(Device::from)
    }

    /// Returns the device that runs the kernels' twins, which are slow but correct.
    pub fn reference() -> Self {
        Runs::Reference.into()
    }

    /// Returns the same device with another precision, in which models are loaded and programs are measured. The
    /// default is [`Precision::F32`].
    pub fn with_precision(self, precision: Precision) -> Self {
        Device { precision, ..self }
    }

    /// Returns the precision that weights and activations are stored in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns true if programs run on the host.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self.runs, Runs::Cpu(_) | Runs::Reference)
    }

    /// Returns the GPU, or `None` if the device is not a GPU.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&Gpu> {
        if let Runs::Gpu(gpu) = &self.runs { Some(gpu) } else { None }
    }

    /// Returns a program in the precision of this device.
    fn stored(&self, program: &Arc<Program>) -> Arc<Program> {
        match program.precision() == self.precision {
            true => program.clone(),
            false => Arc::new(program.stored_in(self.precision)),
        }
    }

    /// Lists all devices of this machine.
    ///
    /// # Errors
    /// See [`Device::cpu`].
    pub fn all() -> Result<Vec<Available>> {
        let mut all = adapters();
        for device in [Device::cpu()?, Device::reference()] {
            all.push(Available { name: device.name(), description: device.description() });
        }
        Ok(all)
    }

    /// Returns the device's name, as [`Device::named`] accepts it.
    pub fn name(&self) -> String {
        match &self.runs {
            Runs::Cpu(_) => "cpu".into(),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.name(),
            Runs::Reference => "reference".into(),
        }
    }

    /// Returns a human-readable description.
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
    /// If a tensor cannot be read or contains NaN or an infinity, or the device fails.
    pub fn load(&self, program: Arc<Program>, source: &dyn WeightSource) -> Result<Box<dyn Executor>> {
        let program = self.stored(&program);
        let weights = self.load_weights(&program, source)?;
        self.executor(program, &weights)
    }

    /// Loads the weights of a program, for it and other programs of the same model.
    ///
    /// # Errors
    /// See [`Device::load`].
    pub(crate) fn load_weights(&self, program: &Arc<Program>, source: &dyn WeightSource) -> Result<DeviceWeights> {
        let program = &self.stored(program);
        Ok(match &self.runs {
            Runs::Cpu(cpu) => DeviceWeights::Host(Arc::new(HostWeights::load(program, source, &cpu.backend())?)),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => DeviceWeights::Gpu(Arc::new(GpuWeights::load(gpu, program, source)?)),
            Runs::Reference => DeviceWeights::Host(Arc::new(HostWeights::load(program, source, &Reference)?)),
        })
    }

    /// Loads a program whose weights are already on this device.
    ///
    /// # Errors
    /// See [`Device::load`]. Also if the weights belong to another device or another model.
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

    /// Returns the memory that a program will take on the device, as its executor will report it, without loading it.
    ///
    /// # Errors
    /// If a kernel does not fit the device's limits.
    pub fn memory(&self, program: &Program) -> Result<Memory> {
        let program = &program.stored_in(self.precision);
        Ok(match &self.runs {
            Runs::Cpu(cpu) => cpu.backend().memory(program),
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.memory(program)?,
            Runs::Reference => Reference.memory(program),
        })
    }

    /// Compiles a program's pipelines on a GPU before the program is loaded. Does nothing on the host.
    ///
    /// # Errors
    /// If the device fails.
    pub fn prepare(&self, program: &Program) -> Result<()> {
        match &self.runs {
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.prepare(&program.stored_in(self.precision)),
            Runs::Cpu(_) | Runs::Reference => {
                let _ = program;
                Ok(())
            }
        }
    }

    /// Returns the number of pipelines made for the device so far, which is 0 on the host.
    pub fn pipeline_count(&self) -> usize {
        match &self.runs {
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.pipeline_count(),
            Runs::Cpu(_) | Runs::Reference => 0,
        }
    }

    /// Returns the maximum size of one value of a program, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        match &self.runs {
            #[cfg(feature = "gpu")]
            Runs::Gpu(gpu) => gpu.max_value_bytes(),
            Runs::Cpu(_) | Runs::Reference => usize::MAX,
        }
    }
}

/// Opens the first hardware GPU that works.
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
