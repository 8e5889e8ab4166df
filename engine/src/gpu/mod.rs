//! The GPU path, on wgpu: Vulkan, Metal, DX12 and GL.
//!
//! A program is loaded by [`GpuExecutor::new`], which does all that takes long: pipelines are made (in parallel,
//! only those that the program needs, from a cache on disk where the driver has one), weights are packed and
//! uploaded, and every dispatch gets its bind group. A run records dispatches in one compute pass and submits it;
//! nothing but what is asked for comes back.
//!
//! [`Gpu`] is a device: percept's own, or that of a host that uses wgpu itself. It works within wgpu's default limits and
//! without any feature.

pub mod dispatch;

mod context;
mod disk_cache;
mod executor;
mod in_flight;
mod memory;
mod picture;
mod pipelines;
mod profile;
mod readback;
mod run;
mod weights;

pub use context::{Adapter, Gpu, required_features, required_limits};
pub use executor::GpuExecutor;
pub(crate) use picture::Pictures;
pub use picture::Place;
pub use weights::GpuWeights;
