//! The devices that cases run on, and how near to the twins each of them has to come.

use half::f16;
use percept::Precision;
use percept::gpu::dispatch::Profile;
use percept::gpu::{Adapter, Gpu};
use percept::kernels::Kernel;
use percept::pipeline::Device;
use percept_tests::{Bound, Case, adapters, as_hardware, assert_close, halves, run_guarded, run_on};

use crate::bounds::{Sums, bounds, stats_bounds};

/// Half a unit in the last place of 1 in half precision, and half of its smallest number.
const ROUNDING: f64 = 1.0 / 2048.0;
const SMALLEST: f64 = 1.0 / 33_554_432.0;

/// What a case runs on.
pub enum On {
    /// The CPU, by the fast path or by the twins.
    Host(Device),
    /// A GPU, with poisoned buffers and guard zones.
    Gpu(Gpu),
}

impl On {
    /// The fast path of the CPU.
    pub fn cpu() -> On {
        On::Host(Device::cpu().expect("a CPU"))
    }

    /// The twins, which for values of half precision are more than what they are compared with.
    pub fn reference() -> On {
        On::Host(Device::reference())
    }

    /// An adapter as it is.
    pub fn gpu(adapter: &Adapter) -> On {
        On::Gpu(Gpu::open(adapter).expect("a device"))
    }

    /// An adapter with the shaders and dispatches of another profile than its own.
    pub fn gpu_as(adapter: &Adapter, change: impl FnOnce(Profile) -> Profile) -> On {
        On::Gpu(Gpu::open_as(adapter, change).expect("a device"))
    }

    /// What the device is called where a case fails.
    pub fn name(&self) -> String {
        match self {
            On::Host(device) => device.name(),
            On::Gpu(gpu) => format!("{} as {:?}", gpu.name(), gpu.profile()),
        }
    }

    /// The buffers that the case's kernel writes, with values stored in `precision`.
    pub fn run(&self, case: &Case, precision: Precision) -> Vec<Vec<f32>> {
        let got = match self {
            On::Host(device) => run_on(&device.clone().with_precision(precision), case),
            On::Gpu(gpu) => run_guarded(gpu, case, precision),
        };
        got.unwrap_or_else(|error| panic!("{} on {}: {error}", case.name(), self.name()))
    }

    /// As [`assert_agree`], of this device alone.
    pub fn assert_agrees(&self, case: &Case, precision: Precision) {
        assert_agree(&[self], case, precision);
    }

    fn sums(&self) -> Sums {
        match self {
            On::Host(_) => Sums::InBlocks,
            On::Gpu(_) => Sums::InOneChain,
        }
    }
}

/// The fast path of the CPU, and the first adapter as it is and with the variants of a graphics card.
pub fn cpu_and_first_adapter() -> Vec<On> {
    let adapter = adapters().into_iter().next();
    let gpus = adapter.iter().flat_map(|adapter| [On::gpu(adapter), On::gpu_as(adapter, as_hardware)]);
    [On::cpu()].into_iter().chain(gpus).collect()
}

/// Asserts that each result on each device is as near to the twin's as the device's arithmetic allows, and, stored in
/// half precision, as near as rounding leaves that.
pub fn assert_agree(devices: &[&On], case: &Case, precision: Precision) {
    let want = case.twin_outputs();
    for sums in [Sums::InBlocks, Sums::InOneChain] {
        let devices: Vec<&&On> = devices.iter().filter(|on| on.sums() == sums).collect();
        if devices.is_empty() {
            continue;
        }
        let bounds = match precision {
            Precision::F32 => bounds(case, sums),
            Precision::F16 => half_bounds(case, sums, &want),
        };
        for on in devices {
            let got = on.run(case, precision);
            let name = format!("{} on {}", case.name(), on.name());
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

/// The bounds of results of which the first may be rounded to half precision.
fn half_bounds(case: &Case, sums: Sums, want: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut bounds = bounds(case, sums);
    if halves(case).contains(&"output") {
        for (bound, want) in bounds[0].iter_mut().zip(&want[0]) {
            *bound += (f64::from(want.abs()) + *bound) * ROUNDING + SMALLEST;
        }
        if let (Kernel::Conv(p), true) = (&case.kernel, bounds.len() > 1) {
            // A store that cannot gather statistics leaves them to be taken of rounded values.
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
            // To the bit, which also holds for words that are no floats.
            true => got.to_bits() == want.to_bits(),
            false => got == want || (got.is_nan() && want.is_nan()),
        };
        let error = (f64::from(*got) - f64::from(*want)).abs();
        let within = same || (!single || worst > 0.0) && error <= *bound;
        assert!(within, "{name}: element {index}: got {got}, want {want}, bound {bound:e}");
    }
}
