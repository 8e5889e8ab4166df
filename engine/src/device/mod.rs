//! Devices: the CPU, a GPU, and the reference implementation.
//!
//! Every device runs the same [`Program`](crate::program::Program) through an [`Executor`]. [`HostExecutor`] runs it
//! in host memory, with either the kernels' twins ([`Reference`]) or the kernels of [`cpu`]. Only [`gpu`] depends on
//! wgpu. [`Device`] selects a device by name.

mod executor;
mod host;

#[cfg(feature = "std")]
pub(crate) mod batch;
#[cfg(feature = "std")]
pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "std")]
mod open;

pub use executor::{Executor, Timing, TryRun};
pub use host::{HostBackend, HostExecutor, HostWeights, Reference};
#[cfg(feature = "std")]
pub(crate) use open::DeviceWeights;
#[cfg(feature = "std")]
pub use open::{Available, Device};
