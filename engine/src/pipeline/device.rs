//! Devices by name, and loading a program onto one.

use std::sync::Arc;

use crate::cpu::Cpu;
use crate::program::{Executor, HostExecutor, Program, Reference};
use crate::weights::WeightSource;
use crate::{Error, Result};

/// Something that runs programs.
#[derive(Clone)]
#[non_exhaustive]
pub enum Device {
    /// All cores and the machine's vector instructions.
    Cpu(Cpu),
    /// The kernels' twins: slow, and right.
    Reference,
}

impl Device {
    /// The device of a name: `cpu`, `reference`, or `auto`, which is a hardware GPU where there is one,
    /// else the CPU. (This version has no GPU executor yet: `auto` is the CPU.)
    ///
    /// # Errors
    /// [`Error::Device`] where there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "auto" | "cpu" => Device::cpu(),
            "reference" => Ok(Device::Reference),
            _ => Err(Error::device("device", "auto, cpu or reference (this version has no GPU executor)", name)),
        }
    }

    /// The CPU, with as many threads as it has cores.
    ///
    /// # Errors
    /// [`Error::Device`] where threads cannot be started.
    pub fn cpu() -> Result<Self> {
        Cpu::new(None).map(Device::Cpu)
    }

    /// All devices of this machine.
    ///
    /// # Errors
    /// As [`Device::cpu`].
    pub fn all() -> Result<Vec<Self>> {
        Ok(vec![Device::cpu()?, Device::Reference])
    }

    /// Its name, as [`Device::named`] takes it.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            Device::Reference => "reference",
        }
    }

    /// What it is, for people.
    pub fn description(&self) -> String {
        match self {
            Device::Cpu(cpu) => cpu.description(),
            Device::Reference => "the kernels' twins in plain loops, one thread: slow, for checks".into(),
        }
    }

    /// Loads a program and its weights.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity.
    pub fn load(&self, program: Arc<Program>, source: &dyn WeightSource) -> Result<Box<dyn Executor>> {
        Ok(match self {
            Device::Cpu(cpu) => Box::new(HostExecutor::new(program, source, cpu.backend())?),
            Device::Reference => Box::new(HostExecutor::new(program, source, Reference)?),
        })
    }
}
