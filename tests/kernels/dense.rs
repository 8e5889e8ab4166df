//! Tests `dense`: the twin against a sum of outer products.

use percept::kernels::{Activation, Dense};
use percept_tests::plain::activate;
use percept_tests::{Bound, Case, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with sizes of one, odd sizes and sizes around tiles, and with each switch.
pub fn cases() -> Vec<Dense> {
    let new = |rows, in_features, out_features| Dense {
        rows,
        in_features,
        out_features,
        bias: false,
        residual: false,
        activation: Activation::Identity,
    };
    let mut cases = vec![
        new(1, 1, 1),
        new(1, 7, 1),
        new(5, 1, 3),
        new(3, 13, 11),
        Dense { bias: true, ..new(3, 4, 5) },
        Dense { residual: true, ..new(3, 4, 5) },
        Dense { activation: Activation::Relu, ..new(3, 4, 5) },
        Dense { activation: Activation::Silu, ..new(3, 4, 5) },
        Dense { activation: Activation::Gelu, ..new(3, 4, 5) },
        Dense { bias: true, residual: true, activation: Activation::Silu, ..new(2, 33, 65) },
        new(2, 1024, 3),
    ];
    for edge in [16, 32, 64] {
        for size in [edge - 1, edge, edge + 1] {
            cases.push(new(size, 3, 2));
            cases.push(new(2, size, 3));
            cases.push(new(3, 2, size));
        }
    }
    cases
}

fn truth(p: &Dense, case: &Case) -> Vec<f64> {
    let mut result = vec![0.0; p.rows * p.out_features];
    let (source, weight) = (case.floats("source"), case.floats("weight"));
    // Column i of the source times row i of the weight, summed over i.
    for i in 0..p.in_features {
        let column = source.iter().skip(i).step_by(p.in_features);
        let row = &weight[i * p.out_features..][..p.out_features];
        for (sums, &x) in result.chunks_mut(p.out_features).zip(column) {
            for (sum, &w) in sums.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(w);
            }
        }
    }
    if p.bias {
        let bias = case.floats("bias").iter().cycle();
        result.iter_mut().zip(bias).for_each(|(sum, &b)| *sum += f64::from(b));
    }
    if p.residual {
        let residual = case.floats("residual");
        result.iter_mut().zip(residual).for_each(|(sum, &r)| *sum += f64::from(r));
    }
    result.into_iter().map(|v| activate(p.activation, v)).collect()
}

#[test]
fn the_twin_is_a_sum_of_outer_products() {
    for (seed, p) in cases().into_iter().enumerate() {
        let case = Case::random(p.clone(), seed as u64);
        assert_close(&case.name(), &case.twin(), &truth(&p, &case), Bound::F32);
    }
}

#[test]
fn by_hand() {
    let p =
        Dense { rows: 2, in_features: 2, out_features: 3, bias: true, residual: true, activation: Activation::Relu };
    let mut case = Case::random(p, 0);
    case.set("source", &[1.0, 2.0, 3.0, 4.0]);
    case.set("weight", &[1.0, 0.0, -1.0, 0.0, 1.0, -1.0]);
    case.set("bias", &[10.0, 20.0, 1.0]);
    case.set("residual", &[100.0, 200.0, 0.0, 300.0, 400.0, 7.0]);
    assert_eq!(case.twin(), [111.0, 222.0, 0.0, 313.0, 424.0, 1.0]);
}

#[test]
fn activations_at_their_limits() {
    let of = |activation: Activation, x: f32| f64::from(activation.of(x));
    for activation in [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Gelu] {
        let xs = [-30.0, -4.0, -1.0, -1e-3, 0.0, 1e-3, 0.7, 1.0, 5.0, 30.0];
        let got = xs.map(|x| of(activation, x));
        let want = xs.map(|x| activate(activation, f64::from(x)));
        assert_close(&format!("{activation:?}"), &got, &want, Bound::F32);
        assert!(of(activation, f32::NAN).is_nan(), "{activation:?} of NaN");
        assert_eq!(of(activation, f32::MAX), f64::from(f32::MAX), "{activation:?}");
    }
    for activation in [Activation::Relu, Activation::Silu, Activation::Gelu] {
        assert_eq!(of(activation, -1e30), 0.0, "{activation:?} of a large negative value");
    }
}
