//! Tests values at the limits of the formulas on every device: scores far from zero, and activations.

use percept::Precision;
use percept::kernels::{Activation, Attention, Conv, Dense, Load, QkvOrder, RowSlice};
use percept_tests::plain::activate;
use percept_tests::{Bound, Case, adapters, assert_close};

use crate::runner::{Runner, cpu_and_first_adapter};

/// Returns both CPU paths and every adapter.
fn every_device() -> Vec<Runner> {
    let host = [Runner::cpu(), Runner::reference()].into_iter();
    host.chain(adapters().iter().map(Runner::gpu)).collect()
}

/// With scores thousands apart, the softmax takes the value of the key with the largest one, whether it is far
/// above zero or far below, in the first tile of 64 keys or in the last.
#[test]
fn scores_beyond_the_exponentials_range_choose_the_largest() {
    let devices = every_device();
    let single = &[Precision::F32][..];
    let both = &[Precision::F32, Precision::F16][..];
    let cases: [(usize, usize, usize, _); 4] =
        [(3, 1, 1, single), (65, 4, 0, single), (65, 4, 64, single), (130, 72, 100, both)];
    for ((tokens, d, winner, precisions), sign) in cases.into_iter().flat_map(|case| [(case, 1.0), (case, -1.0)]) {
        let order = QkvOrder::HeadsFirst;
        let p = Attention { batch: 1, height: tokens, width: 1, heads: 1, head_channels: d, order };
        let mut case = Case::random(p, 0);
        // All queries are the same and use one channel. A key differs from the winner's by 1/8 per token of
        // distance.
        let mut qkv = vec![0.0; tokens * 3 * d];
        for (token, part) in qkv.chunks_exact_mut(3 * d).enumerate() {
            let steps = if sign > 0.0 { tokens - winner.abs_diff(token) } else { winner.abs_diff(token) };
            part[0] = 1e4;
            part[d] = sign * (1.0 + steps as f32 / 8.0);
            part[2 * d..].fill(1.0 + token as f32);
        }
        case.set("qkv", &qkv);
        let want = vec![1.0 + winner as f32; tokens * d];
        for (runner, precision) in
            devices.iter().flat_map(|runner| precisions.iter().map(move |precision| (runner, *precision)))
        {
            let got = runner.run(&case, precision).swap_remove(0);
            let name = format!("{}, {sign} at key {winner}, on {}", case.name(), runner.name());
            assert_close(&name, &got, &want, Bound::F32);
        }
    }
}

/// Arguments around the places where polynomials and exponentials are cut off, and far beyond them.
const ARGUMENTS: [f32; 28] = [
    -1e9, -1000.0, -104.0, -88.1, -87.9, -87.1, -86.9, -80.1, -79.9, -10.1, -9.9, -6.1, -5.9, -1.0, -1e-3, -0.0, 1e-3,
    1.0, 5.9, 6.1, 9.9, 10.1, 79.9, 80.1, 87.9, 88.1, 1000.0, 1e30,
];

/// Returns the allowed error: WGSL's bound of an exponential, 3 + 2 |x| units in the last place, and a few
/// roundings. GELU's polynomial is off by 8e-9 times the argument. The result of a clamped argument is below
/// 1e-25.
fn allowed(activation: Activation, x: f32, want: f64) -> f64 {
    let x = f64::from(x.abs());
    let of_polynomial = if activation == Activation::Gelu { 1e-8 * x.min(10.0) } else { 0.0 };
    of_polynomial + (2.0 * x.min(100.0) + 8.0) * f64::from(f32::EPSILON) * want.abs() + 1e-25
}

#[test]
fn activations_agree_at_their_limits() {
    let (all, fused) = (every_device(), cpu_and_first_adapter());
    let count = ARGUMENTS.len();
    let rows = RowSlice { row_length: 2 * count, offset: 0 };
    for activation in [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Gelu] {
        // The activation in the store of a convolution, in the store of a linear layer, and in the load of a
        // convolution.
        let dense = Dense { rows: 1, in_features: 1, out_features: count, bias: false, residual: false, activation };
        let mut of_dense = Case::random(dense, 0);
        of_dense.set("source", &[1.0]);
        of_dense.set("weight", &ARGUMENTS);
        let mut of_store = Case::random(Conv { activation, ..Conv::new([1, 1, count, 1], 1, 1) }, 0);
        of_store.set("source", &ARGUMENTS);
        of_store.set("weight", &[1.0]);
        let load = Load::Affine { rows, activation };
        let mut of_load = Case::random(Conv { load, ..Conv::new([1, 1, 1, count], count, 1) }, 0);
        let diagonal: Vec<f32> = (0..count * count).map(|i| f32::from(u8::from(i % (count + 1) == 0))).collect();
        of_load.set("source", &ARGUMENTS);
        of_load.set("rows", &[vec![1.0; count], vec![0.0; count]].concat());
        of_load.set("weight", &diagonal);
        let of_conv = fused.iter().flat_map(|runner| [(runner, &of_store), (runner, &of_load)]);
        for (runner, case) in all.iter().map(|runner| (runner, &of_dense)).chain(of_conv) {
            let got = runner.run(case, Precision::F32).swap_remove(0);
            for (x, got) in ARGUMENTS.iter().zip(got) {
                let want = activate(activation, f64::from(*x));
                let error = (f64::from(got) - want).abs();
                assert!(
                    error <= allowed(activation, *x, want),
                    "{activation:?}({x}) of {}: {got} on {}",
                    case.name(),
                    runner.name()
                );
            }
        }
    }
}
