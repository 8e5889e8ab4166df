//! Values of half precision: every device against the twins on rounded inputs, whose results are rounded as well.

use half::f16;
use percept::Precision;
use percept::gpu::Adapter;
use percept::kernels::{
    Attention, AvgPool, ChannelStats, Concat, Conv, Dense, Kernel, LayerNorm, Load, MaxPool, RowSlice, Tokens,
};
use percept_tests::{Case, adapters, as_hardware, as_packed, halves, part, parts_on, ran};

use crate::on::{On, assert_agree};

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

#[test]
fn the_host_agrees() {
    let [cpu, reference] = [On::cpu(), On::reference()];
    cases().iter().for_each(|case| assert_agree(&[&cpu, &reference], case, Precision::F16));
}

/// Runs cases on the first adapter in turns: with its own variants, with halves packed in words, with the variants of a
/// graphics card, and with both.
fn assert_agree_in_turns<'a>(first: &Adapter, cases: impl Iterator<Item = &'a Case>) {
    let [packed, hardware] = [as_packed, as_hardware].map(|change| On::gpu_as(first, change));
    let both = On::gpu_as(first, |own| as_packed(as_hardware(own)));
    let turns = [On::gpu(first), packed, hardware, both];
    for (case, on) in cases.zip(turns.iter().cycle()) {
        on.assert_agrees(case, Precision::F16);
    }
}

/// Hardware runs all cases, the first software adapter an eighth, and other software adapters a quarter of that.
#[test]
fn every_adapter_agrees() {
    let all = cases();
    for (index, adapter) in adapters().iter().enumerate() {
        let cases = part(&all, parts_on(adapter, if index == 0 { 8 } else { 32 }));
        ran(&adapter.name(), format!("{} of {} cases of half precision", cases.len(), all.len()));
        if index == 0 {
            assert_agree_in_turns(adapter, cases);
        } else {
            let on = On::gpu(adapter);
            cases.for_each(|case| on.assert_agrees(case, Precision::F16));
        }
    }
}

/// All cases, on a software adapter too.
#[test]
#[ignore = "takes minutes"]
fn the_first_adapter_agrees_on_all() {
    let Some(first) = adapters().into_iter().next() else { return };
    assert_agree_in_turns(&first, cases().iter());
}

/// Half precision ends at 65504. What rounds to it stays finite; from 65520 on a result is infinite or, on a GPU, NaN, and
/// never the largest number, which nobody could tell from a right one.
#[test]
fn what_is_too_large_is_not_finite() {
    let mut devices = vec![On::cpu(), On::reference()];
    for adapter in adapters() {
        devices.push(On::gpu(&adapter));
        devices.push(On::gpu_as(&adapter, as_packed));
    }
    let infinite = f32::INFINITY;
    let sums = [([65_504.0, 0.0], 65_504.0), ([65_504.0, 15.0], 65_504.0), ([65_504.0, 16.0], infinite)];
    let signs = sums.into_iter().chain([([60_000.0, 60_000.0], infinite)]);
    for ([a, b], want) in signs.flat_map(|(terms, want)| [(terms, want), (terms.map(|x: f32| -x), -want)]) {
        let mut case = Case::random(Conv::new([1, 1, 1, 4], 4, 1), 0);
        case.set("source", &[a, b, 0.0, 0.0]);
        case.set("weight", &[1.0; 16]);
        for on in &devices {
            let got = on.run(&case, Precision::F16).swap_remove(0);
            let is_right = |x: &f32| *x == want || (matches!(on, On::Gpu(_)) && want.is_infinite() && x.is_nan());
            assert!(got.iter().all(is_right), "{a} + {b}: {got:?} on {}", on.name());
        }
    }
}
