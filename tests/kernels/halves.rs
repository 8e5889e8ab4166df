//! Tests half precision: every device against the twins on rounded inputs. The results are rounded as well.

use half::f16;
use percept::Precision;
use percept::device::gpu::Adapter;
use percept::kernels::{
    Attention, AvgPool, ChannelStats, Concat, Conv, Dense, Kernel, LayerNorm, Load, MaxPool, RowSlice, Tokens,
};
use percept_tests::{Case, adapters, as_packed, halves, part, parts_on, ran};

use crate::runner::{Runner, assert_agree};

/// Returns the kernel with four times the channels, because half precision needs multiples of four, or `None`
/// if it has no half-precision values.
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

/// Returns cases with half-precision values and inputs rounded to them: the cases of the tables with four times
/// the channels, and every fourth case unchanged, in which mostly only the weights have half precision.
pub fn cases() -> Vec<Case> {
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

#[test]
fn the_host_agrees() {
    let [cpu, reference] = [Runner::cpu(), Runner::reference()];
    cases().iter().for_each(|case| assert_agree(&[&cpu, &reference], case, Precision::F16));
}

/// Runs cases on the first adapter in turns: with its own variants, and with halves packed in words.
fn assert_agree_in_turns<'a>(first: &Adapter, cases: impl Iterator<Item = &'a Case>) {
    let turns = [Runner::gpu(first), Runner::gpu_as(first, as_packed)];
    for (case, runner) in cases.zip(turns.iter().cycle()) {
        runner.assert_agrees(case, Precision::F16);
    }
}

/// Hardware runs all cases, the first software adapter an eighth, and other software adapters a quarter of
/// that.
#[test]
fn every_adapter_agrees() {
    let all = cases();
    for (index, adapter) in adapters().iter().enumerate() {
        let cases = part(&all, parts_on(adapter, if index == 0 { 8 } else { 32 }));
        ran(&adapter.name(), format!("{} of {} cases of half precision", cases.len(), all.len()));
        if index == 0 {
            assert_agree_in_turns(adapter, cases);
        } else {
            let runner = Runner::gpu(adapter);
            cases.for_each(|case| runner.assert_agrees(case, Precision::F16));
        }
    }
}

/// Runs all cases, on a software adapter too.
#[test]
#[ignore = "takes minutes"]
fn the_first_adapter_agrees_on_all() {
    let Some(first) = adapters().into_iter().next() else { return };
    assert_agree_in_turns(&first, cases().iter());
}

/// The largest number of half precision is 65504. A result that rounds to it stays finite. From 65520 on, a
/// result is infinite or, on a GPU, NaN. It is never the largest number, which would look like a correct
/// result.
#[test]
fn what_is_too_large_is_not_finite() {
    let mut devices = vec![Runner::cpu(), Runner::reference()];
    for adapter in adapters() {
        devices.push(Runner::gpu(&adapter));
        devices.push(Runner::gpu_as(&adapter, as_packed));
    }
    let infinite = f32::INFINITY;
    let sums = [([65_504.0, 0.0], 65_504.0), ([65_504.0, 15.0], 65_504.0), ([65_504.0, 16.0], infinite)];
    let signs = sums.into_iter().chain([([60_000.0, 60_000.0], infinite)]);
    for ([a, b], want) in signs.flat_map(|(terms, want)| [(terms, want), (terms.map(|x: f32| -x), -want)]) {
        let mut case = Case::random(Conv::new([1, 1, 1, 4], 4, 1), 0);
        case.set("source", &[a, b, 0.0, 0.0]);
        case.set("weight", &[1.0; 16]);
        for runner in &devices {
            let got = runner.run(&case, Precision::F16).swap_remove(0);
            let is_right =
                |x: &f32| *x == want || (matches!(runner, Runner::Gpu(_)) && want.is_infinite() && x.is_nan());
            assert!(got.iter().all(is_right), "{a} + {b}: {got:?} on {}", runner.name());
        }
    }
}
