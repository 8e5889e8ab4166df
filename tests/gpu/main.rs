//! Tests GPUs: the results of programs, limits, and failures.
//!
//! The tests run on every adapter of the machine, including software adapters. If there is none, they pass, and
//! print that nothing was tested; with `PERCEPT_REQUIRE_GPU=1` they fail.

mod failures;
mod goldens;
mod hosts;
mod jobs;
mod limits;
mod memory;
mod pictures;
mod pipeline_cache;
mod profile;
mod refusals;
mod uploads;

use percept::device::gpu::{Adapter, Gpu};

/// Opens every adapter.
///
/// # Panics
/// Panics if an adapter gives no device, or if there is no adapter although one is required.
pub fn every_gpu() -> Vec<Gpu> {
    percept_tests::adapters().iter().map(|adapter| Gpu::open(adapter).expect("a device")).collect()
}

/// Opens every hardware adapter; without one, the first software adapter. This is for tests that take long on
/// software adapters, which compile each shader for the CPU.
///
/// # Panics
/// See [`every_gpu`].
pub fn hardware_or_first_gpu() -> Vec<Gpu> {
    let adapters = percept_tests::adapters();
    let hardware = adapters.iter().take_while(|adapter| !adapter.is_software()).count();
    adapters.iter().take(hardware.max(1)).map(|adapter| Gpu::open(adapter).expect("a device")).collect()
}

/// Returns the adapter for tests that do not depend on the driver: limits, failures, hosts. It is hardware, or
/// the first software adapter.
pub fn first_adapter() -> Option<Adapter> {
    percept_tests::adapters().into_iter().next()
}
