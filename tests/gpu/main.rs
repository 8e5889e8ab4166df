//! GPUs: what a program gives there, at which limits, and what happens when something fails.
//!
//! The tests run on every adapter of the machine, software ones included. Where there is none they pass without having
//! tested anything and say so; with `PERCEPT_REQUIRE_GPU=1` they fail.

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

use percept::gpu::{Adapter, Gpu};

/// Opens every adapter.
///
/// # Panics
/// Where one gives no device, or there is none and one is required.
pub fn every_gpu() -> Vec<Gpu> {
    percept_tests::adapters().iter().map(|adapter| Gpu::open(adapter).expect("a device")).collect()
}

/// Opens every hardware adapter; without one, the first software adapter. For tests that take long on software adapters,
/// which compile each shader for the CPU.
///
/// # Panics
/// As [`every_gpu`].
pub fn hardware_or_first_gpu() -> Vec<Gpu> {
    let adapters = percept_tests::adapters();
    let hardware = adapters.iter().take_while(|adapter| !adapter.is_software()).count();
    adapters.iter().take(hardware.max(1)).map(|adapter| Gpu::open(adapter).expect("a device")).collect()
}

/// The adapter that is tested on alone where what is tested is not the driver's: limits, failures, hosts. Hardware, or
/// the first software one.
pub fn first_adapter() -> Option<Adapter> {
    percept_tests::adapters().into_iter().next()
}
