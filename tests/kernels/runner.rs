//! The devices that cases run on, and their comparison with the twins.

use half::f16;
use percept::Device;
use percept::Precision;
use percept::device::gpu::dispatch::Capabilities;
use percept::device::gpu::{Adapter, Gpu};
use percept::kernels::Kernel;
use percept_tests::{Bound, Case, adapters, assert_close, halves, run_guarded, run_on};

use crate::bounds::{Sums, bounds, stats_bounds};

/// Half a unit in the last place of 1 in half precision, and half of its smallest number.
const ROUNDING: f64 = 1.0 / 2048.0;
const SMALLEST: f64 = 1.0 / 33_554_432.0;

/// A device that cases run on.
pub enum Runner {
    /// The CPU, by the fast path or by the twins.
    Host(Device),
    /// A GPU, with poisoned buffers and guard zones.
    Gpu(Gpu),
}

impl Runner {
    /// Returns the fast path of the CPU.
    pub fn cpu() -> Runner {
        Runner::Host(Device::cpu().expect("a CPU"))
    }

    /// Returns the twins as a device. It differs from the source of the expected results only for
    /// half-precision values.
    pub fn reference() -> Runner {
        Runner::Host(Device::reference())
    }

    /// Opens an adapter with its own capabilities.
    pub fn gpu(adapter: &Adapter) -> Runner {
        Runner::Gpu(Gpu::open(adapter).expect("a device"))
    }

    /// Opens an adapter with the shaders and dispatches of another capabilities than its own.
    pub fn gpu_as(adapter: &Adapter, change: impl FnOnce(Capabilities) -> Capabilities) -> Runner {
        Runner::Gpu(Gpu::open_as(adapter, change).expect("a device"))
    }

    /// Returns the name of the device for failure messages.
    pub fn name(&self) -> String {
        match self {
            Runner::Host(device) => device.name(),
            Runner::Gpu(gpu) => format!("{} as {:?}", gpu.name(), gpu.capabilities()),
        }
    }

    /// Runs the case and returns the buffers that its kernel writes, with values stored in `precision`.
    pub fn run(&self, case: &Case, precision: Precision) -> Vec<Vec<f32>> {
        let got = match self {
            Runner::Host(device) => run_on(&device.clone().with_precision(precision), case),
            Runner::Gpu(gpu) => run_guarded(gpu, case, precision),
        };
        got.unwrap_or_else(|error| panic!("{} on {}: {error}", case.name(), self.name()))
    }

    /// Does the same as [`assert_agree`] for this device alone.
    pub fn assert_agrees(&self, case: &Case, precision: Precision) {
        assert_agree(&[self], case, precision);
    }

    fn sums(&self) -> Sums {
        match self {
            Runner::Host(_) => Sums::InBlocks,
            Runner::Gpu(_) => Sums::InOneChain,
        }
    }
}

/// Returns the fast path of the CPU, and the first adapter.
pub fn cpu_and_first_adapter() -> Vec<Runner> {
    let adapter = adapters().into_iter().next();
    [Runner::cpu()].into_iter().chain(adapter.iter().map(Runner::gpu)).collect()
}

/// Asserts that the results of each device differ from the twin's by no more than the bound of the device's
/// arithmetic, plus the rounding of results that are stored in half precision.
pub fn assert_agree(devices: &[&Runner], case: &Case, precision: Precision) {
    let want = case.twin_outputs();
    for sums in [Sums::InBlocks, Sums::InOneChain] {
        let devices: Vec<&&Runner> = devices.iter().filter(|runner| runner.sums() == sums).collect();
        if devices.is_empty() {
            continue;
        }
        let bounds = match precision {
            Precision::F32 => bounds(case, sums),
            Precision::F16 => half_bounds(case, sums, &want),
        };
        for runner in devices {
            let got = runner.run(case, precision);
            let name = format!("{} on {}", case.name(), runner.name());
            assert_eq!([got.len(), bounds.len()], [want.len(); 2], "outputs of {name}");
            for ((got, want), bounds) in got.iter().zip(&want).zip(&bounds) {
                assert_within(&name, got, want, bounds, precision);
            }
            if precision == Precision::F16 && halves(case).contains(&"output") {
                let is_half = |x: &f32| x.is_nan() || f16::from_f32(*x).to_f32() == *x;
                assert!(got[0].iter().all(is_half), "{name}: a result that is not of half precision");
            }
        }
    }
}

/// Returns bounds for results of which the first may be rounded to half precision.
fn half_bounds(case: &Case, sums: Sums, want: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut bounds = bounds(case, sums);
    if halves(case).contains(&"output") {
        for (bound, want) in bounds[0].iter_mut().zip(&want[0]) {
            *bound += (f64::from(want.abs()) + *bound) * ROUNDING + SMALLEST;
        }
        if let (Kernel::Conv(p), true) = (&case.kernel, bounds.len() > 1) {
            // If the store cannot gather statistics, they are computed from the rounded values.
            bounds[1] = p.channel_stats().map_or(Vec::new(), |stats| stats_bounds(&stats, &want[0], &bounds[0]));
        }
    }
    bounds
}

fn assert_within(name: &str, got: &[f32], want: &[f32], bounds: &[f64], precision: Precision) {
    assert_eq!([got.len(), bounds.len()], [want.len(); 2], "{name}");
    let worst = bounds.iter().copied().fold(0.0, f64::max);
    let single = precision == Precision::F32;
    if single && worst > 0.0 {
        assert_close(name, got, want, Bound::new(worst, 0.0));
    }
    for (index, ((got, want), bound)) in got.iter().zip(want).zip(bounds).enumerate() {
        let same = match single {
            // Bitwise equality, which also works for words that are not floats.
            true => got.to_bits() == want.to_bits(),
            false => got == want || (got.is_nan() && want.is_nan()),
        };
        let error = (f64::from(*got) - f64::from(*want)).abs();
        let within = same || (!single || worst > 0.0) && error <= *bound;
        assert!(within, "{name}: element {index}: got {got}, want {want}, bound {bound:e}");
    }
}
