//! Values of half precision: every device against the twins on rounded inputs, whose results are rounded as well.

use half::f16;
use percept::Precision;
use percept::cpu::Cpu;
use percept::gpu::Gpu;
use percept::kernels::{
    Attention, AvgPool, ChannelStats, Concat, Conv, Dense, Kernel, LayerNorm, Load, MaxPool, RowSlice, Tokens,
};
use percept::pipeline::Device;
use percept_tests::{Case, adapters, as_hardware, as_packed, halves, left_out, ran, run_guarded, run_on};

use crate::bounds::{Sums, bounds, stats_bounds};

/// Half a unit in the last place of 1, and half of the smallest number.
const ROUNDING: f64 = 1.0 / 2048.0;
const SMALLEST: f64 = 1.0 / 33_554_432.0;

/// The kernel with four times the channels, which half precision wants in fours; none where it has no values of such.
fn in_fours(kernel: &Kernel) -> Option<Kernel> {
    let slice = |rows: RowSlice| RowSlice { row_length: 4 * rows.row_length, offset: 4 * rows.offset };
    let rows = |load: Load| match load {
        Load::Plain => Load::Plain,
        Load::Affine { rows, activation } => Load::Affine { rows: slice(rows), activation },
    };
    Some(match kernel.clone() {
        Kernel::Conv(p) => {
            let (in_channels, out_channels) = (p.in_channels.map(|channels| 4 * channels), 4 * p.out_channels);
            Conv { in_channels, out_channels, load: rows(p.load), add: p.add.map(slice), ..p }.into()
        }
        Kernel::Attention(p) => Attention { head_channels: 4 * p.head_channels, ..p }.into(),
        Kernel::AvgPool(p) => AvgPool { channels: 4 * p.channels, load: rows(p.load), ..p }.into(),
        Kernel::ChannelStats(p) => ChannelStats { channels: 4 * p.channels, ..p }.into(),
        Kernel::Concat(p) => Concat { channels: p.channels.map(|channels| 4 * channels), ..p }.into(),
        Kernel::Dense(p) => Dense { in_features: 4 * p.in_features, ..p }.into(),
        Kernel::LayerNorm(p) => LayerNorm { channels: 4 * p.channels, ..p }.into(),
        Kernel::MaxPool(p) => MaxPool { channels: 4 * p.channels, ..p }.into(),
        Kernel::Tokens(p) => Tokens { channels: 4 * p.channels, ..p }.into(),
        _ => return None,
    })
}

/// Cases with values of half precision, their inputs rounded to it: those of the tables with channels in fours, and every
/// fourth as it is, mostly with weights alone.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, case) in (0..).zip(super::every_case()) {
        let wide = in_fours(&case.kernel).map(|kernel| Case::random(kernel, seed));
        let plain = (seed % 4 == 0).then_some(case);
        for mut case in plain.into_iter().chain(wide) {
            let halves = halves(&case);
            case.round_to_half(&halves);
            let fits = |value: f32| !value.is_finite() || value.abs() < f16::MAX.to_f32();
            if !halves.is_empty() && case.all_floats().all(fits) && case.twin().iter().all(|value| fits(*value)) {
                cases.push(case);
            }
        }
    }
    let whole = cases.iter().filter(|case| halves(case).contains(&"output")).count();
    assert!(cases.len() > 200 && whole > 150, "{} cases, {whole} with a result of half precision", cases.len());
    cases
}

/// What runs a case.
enum On {
    Cpu(Device),
    Reference,
    Gpu(Gpu),
}

impl On {
    /// Asserts that each result is as near to its twin's as its arithmetic allows, and then as near as rounding does.
    fn assert_agrees(&self, case: &Case) {
        let half = |device: Device| device.with_precision(Precision::F16);
        let (got, sums) = match self {
            On::Cpu(device) => (run_on(&half(device.clone()), case), Sums::InBlocks),
            On::Reference => (run_on(&half(Device::reference()), case), Sums::InBlocks),
            On::Gpu(gpu) => (run_guarded(gpu, case, Precision::F16), Sums::InOneChain),
        };
        let got = got.unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let (want, mut bounds) = (case.twin_outputs(), bounds(case, sums));
        assert_eq!([got.len(), bounds.len()], [want.len(); 2], "outputs of {}", case.name());
        let is_half = halves(case).contains(&"output");
        if is_half {
            for (bound, want) in bounds[0].iter_mut().zip(&want[0]) {
                *bound += (f64::from(want.abs()) + *bound) * ROUNDING + SMALLEST;
            }
            if let (Kernel::Conv(p), true) = (&case.kernel, bounds.len() > 1) {
                // Where no store can gather them, statistics are those of rounded values.
                bounds[1] = p.channel_stats().map_or(Vec::new(), |stats| stats_bounds(&stats, &want[0], &bounds[0]));
            }
        }
        for ((got, want), bounds) in got.iter().zip(&want).zip(&bounds) {
            assert_eq!(got.len(), want.len(), "{}", case.name());
            for (index, ((got, want), bound)) in got.iter().zip(want).zip(bounds).enumerate() {
                let error = (f64::from(*got) - f64::from(*want)).abs();
                let same = got == want || (got.is_nan() && want.is_nan());
                assert!(same || error <= *bound, "{}: element {index}: got {got}, want {want}", case.name());
            }
        }
        if is_half {
            assert!(got[0].iter().all(|x| x.is_nan() || f16::from_f32(*x).to_f32() == *x), "{}", case.name());
        }
    }
}

#[test]
fn the_host_agrees() {
    let cpu = On::Cpu(Cpu::new(None).expect("a CPU").into());
    for case in cases() {
        cpu.assert_agrees(&case);
        On::Reference.assert_agrees(&case);
    }
}

/// The first adapter runs them in turns as its own shaders hold halves and by the variants of other devices: packed in words,
/// a graphics card's, and both. The others, which have no halves in shaders, run every sixteenth.
#[test]
fn every_adapter_agrees() {
    let all = cases();
    for (index, adapter) in adapters().iter().enumerate() {
        let own = Gpu::open(adapter).expect("a device");
        let native = own.profile().native_f16;
        let own = On::Gpu(own);
        if index > 0 {
            let cases = all.iter().step_by(16);
            ran(&adapter.name(), format!("{} cases of half precision", cases.len()));
            left_out(&adapter.name(), format!("{} of them", all.len() - cases.len()), "the first adapter runs all");
            cases.for_each(|case| own.assert_agrees(case));
            continue;
        }
        let packed = Gpu::open_as(adapter, as_packed).expect("a device");
        let hardware = Gpu::open_as(adapter, as_hardware).expect("a device");
        let both = Gpu::open_as(adapter, |own| as_packed(as_hardware(own))).expect("a device");
        let turns = [own, On::Gpu(packed), On::Gpu(hardware), On::Gpu(both)];
        for (case, on) in all.iter().zip(turns.iter().cycle()) {
            on.assert_agrees(case);
        }
        let held = if native { "held by shaders" } else { "packed in words" };
        ran(
            &adapter.name(),
            format!("{} cases of half precision, {held} and by other devices' variants in turns", all.len()),
        );
    }
}

/// What is too large for half precision never becomes the largest number: it has to be seen.
#[test]
fn what_is_too_large_is_not_finite() {
    let mut case = Case::random(Conv::new([1, 1, 1, 4], 4, 1), 0);
    case.set("source", &[60_000.0; 4]);
    case.set("weight", &[1.0; 16]);
    let devices = [Device::cpu().expect("a CPU"), Device::reference()];
    for device in devices {
        let outputs = run_on(&device.with_precision(Precision::F16), &case).expect("a run");
        assert_eq!(outputs[0], [f32::INFINITY; 4]);
    }
    for adapter in adapters() {
        for gpu in [Gpu::open(&adapter), Gpu::open_as(&adapter, as_packed)] {
            let outputs = run_guarded(&gpu.expect("a device"), &case, Precision::F16).expect("a run");
            assert!(outputs[0].iter().all(|x| !x.is_finite()), "{}: {:?}", adapter.name(), outputs[0]);
        }
    }
}
