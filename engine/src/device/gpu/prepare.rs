//! Preparation of a program before it is loaded: its dispatches, and their pipelines.

use super::context::Gpu;
use super::dispatch::{Dispatch, dispatches};
use crate::Result;
use crate::program::{Op, Program};

impl Gpu {
    /// Makes the pipelines of a program that do not exist yet, before the program is loaded. Apart from the weights,
    /// pipelines are the cost of first use. [`GpuExecutor::new`](super::GpuExecutor::new) also makes them.
    ///
    /// # Errors
    /// Returns [`Error::Shader`](crate::Error::Shader) or [`Error::DeviceLost`](crate::Error::DeviceLost), or
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) if a kernel does not fit the device's limits.
    pub fn prepare(&self, program: &Program) -> Result<()> {
        self.prepared(program).map(|_| ())
    }

    /// Returns the dispatches of every op.
    ///
    /// # Errors
    /// Returns [`Error::OutOfMemory`](crate::Error::OutOfMemory) if a kernel does not fit the device's limits.
    pub(super) fn planned(&self, program: &Program) -> Result<Vec<Vec<Dispatch>>> {
        let of_op = |op: &Op| {
            let dispatches = dispatches(&op.kernel, &program.bindings(op), self.capabilities());
            dispatches.map_err(|error| error.within(&op.layer))
        };
        program.ops().iter().map(of_op).collect()
    }

    /// Returns the dispatches of every op, and makes their pipelines.
    ///
    /// # Errors
    /// See [`Gpu::prepare`].
    pub(super) fn prepared(&self, program: &Program) -> Result<Vec<Vec<Dispatch>>> {
        self.is_lost()?;
        let planned = self.planned(program)?;
        self.pipelines().prepare(self.device(), &planned.iter().flatten().collect::<Vec<_>>())?;
        Ok(planned)
    }
}
