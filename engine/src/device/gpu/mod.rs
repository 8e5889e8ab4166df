//! The GPU path, on wgpu: Vulkan, Metal, DX12 and GL.
//!
//! [`GpuExecutor::new`] loads a program and does all slow work in advance: it makes the pipelines that the program
//! needs, in parallel and from a cache on disk if the driver has one, packs and uploads the weights, and makes a bind
//! group for every dispatch. A run records dispatches in one compute pass and submits it. Only the requested outputs
//! are read back.
//!
//! [`Gpu`] is a device: percept's own, or that of a host application that uses wgpu itself. It works within wgpu's
//! default limits and without any optional feature.

pub mod dispatch;

mod adapter;
mod context;
mod disk_cache;
mod executor;
mod in_flight;
mod memory;
mod picture;
mod pipelines;
mod prepare;
mod profile;
mod readback;
mod run;
mod scope;
mod weights;

pub use adapter::{Adapter, required_features, required_limits};
pub use context::Gpu;
pub use executor::GpuExecutor;
pub(crate) use picture::Pictures;
pub use picture::Place;
pub use weights::GpuWeights;
