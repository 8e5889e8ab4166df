//! Tests `ddim_step`: the twin against the paper's equation in `f64`, computed from the alphas.

use percept::kernels::Parameters;
use percept::kernels::{DdimCoefficients, DdimStep, Prediction};
use percept_tests::{Bound, Case, assert_close};

use crate::ddpm_step::{alphas_cumprod, step, x_0};

/// The eta of cases with noise.
const ETA: f64 = 0.7;

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one pixel, odd sizes and sizes around a workgroup, with every switch, and with one step
/// and many.
pub fn cases() -> Vec<DdimStep> {
    let new = |[batch, height, width, channels]: [usize; 4], steps| DdimStep {
        batch,
        height,
        width,
        channels,
        steps,
        learned_variance: false,
        predict: Prediction::Epsilon,
        clip: false,
        noise: false,
    };
    let mut cases = vec![
        new([1, 1, 1, 1], 1),
        new([1, 1, 255, 1], 2),
        new([1, 1, 256, 1], 2),
        new([1, 1, 257, 1], 2),
        DdimStep { learned_variance: true, noise: true, ..new([3, 2, 2, 4], 1) },
    ];
    for learned_variance in [false, true] {
        for predict in [Prediction::Epsilon, Prediction::Start] {
            for clip in [false, true] {
                for noise in [false, true] {
                    cases.push(DdimStep { learned_variance, predict, clip, noise, ..new([2, 3, 5, 3], 5) });
                }
            }
        }
    }
    cases
}

/// Returns the standard deviation of the new noise (Song et al. 2020, equation 16).
fn sigma(p: &DdimStep, [now, prev]: [f64; 2]) -> f64 {
    let eta = if p.noise { ETA } else { 0.0 };
    eta * ((1.0 - prev) / (1.0 - now)).sqrt() * (1.0 - now / prev).sqrt()
}

/// Creates inputs with the coefficients of a schedule, at one of its steps.
pub fn inputs(p: DdimStep, seed: u64) -> Case {
    let row = |alphas: [f64; 2]| {
        let [now, prev] = alphas;
        let sigma = sigma(&p, alphas);
        DdimCoefficients {
            sqrt_recip_alphas_cumprod: (1.0 / now).sqrt() as f32,
            sqrt_recipm1_alphas_cumprod: (1.0 / now - 1.0).sqrt() as f32,
            x_0: prev.sqrt() as f32,
            epsilon: (1.0 - prev - sigma * sigma).sqrt() as f32,
            sigma: sigma as f32,
        }
    };
    let table: Vec<DdimCoefficients> = alphas_cumprod(p.steps).into_iter().map(row).collect();
    let state = [step(p.steps, seed) as u32, 3, 4, 5];
    let mut case = Case::random(p, seed);
    case.set("table", bytemuck::cast_slice(&table));
    case.set_words("state", &state);
    case
}

/// Computes `x_prev` and `x_0`, pixel by pixel: equation 12 of Song et al., with the noise that leads from the
/// clipped `x_0` to `x_t`.
fn truth(p: &DdimStep, case: &Case, step: usize) -> [Vec<f64>; 2] {
    let c = p.channels;
    let alphas = alphas_cumprod(p.steps)[step];
    let [now, prev] = alphas;
    let sigma = sigma(p, alphas);
    let output_channels = if p.learned_variance { 2 * c } else { c };
    let outputs = case.floats("model_output").chunks(output_channels).flat_map(|pixel| &pixel[..c]);
    let (mut x_prev, mut starts) = (Vec::new(), Vec::new());
    for (i, (&x, &output)) in case.floats("x_t").iter().zip(outputs).enumerate() {
        let x = f64::from(x);
        let start = x_0(p.predict, p.clip, now, x, f64::from(output));
        let epsilon = (x - now.sqrt() * start) / (1.0 - now).sqrt();
        let z = if p.noise { f64::from(case.floats("noise")[i]) } else { 0.0 };
        x_prev.push(prev.sqrt() * start + (1.0 - prev - sigma * sigma).sqrt() * epsilon + sigma * z);
        starts.push(start);
    }
    [x_prev, starts]
}

#[test]
fn the_twin_takes_the_papers_step() {
    for (seed, p) in (0..).zip(cases()) {
        p.check("ddim").expect("a case that is a step");
        let case = inputs(p.clone(), seed);
        let outputs = case.twin_outputs();
        for (got, want) in outputs.iter().zip(truth(&p, &case, step(p.steps, seed))) {
            // x_0 is of the order of 1 / sqrt(alpha_bar), 6.
            assert_close(&case.name(), got, &want, Bound::new(3e-6, 1e-6));
        }
    }
}

#[test]
fn every_step_reads_its_own_row_and_one_past_the_table_the_last() {
    let p = cases().pop().expect("a case of five steps");
    let mut case = inputs(p.clone(), 0);
    for state in [0, 1, 2, 3, 4, 5, u32::MAX] {
        case.set_words("state", &[state, 0, 0, 0]);
        let [x_prev, _] = truth(&p, &case, (state as usize).min(4));
        assert_close(&format!("step {state}"), &case.twin(), &x_prev, Bound::new(3e-6, 1e-6));
    }
}

#[test]
fn by_hand() {
    let p = DdimStep {
        batch: 1,
        height: 1,
        width: 1,
        channels: 2,
        steps: 1,
        learned_variance: true,
        predict: Prediction::Epsilon,
        clip: true,
        noise: true,
    };
    let mut case = Case::random(p, 0);
    case.set("x_t", &[0.5, 1.0]);
    case.set("model_output", &[0.25, -1.0, f32::NAN, f32::NAN]);
    case.set("noise", &[1.0, -1.0]);
    // x_0 = 2 x_t - 4 output, clipped; epsilon = (2 x_t - x_0) / 4; then 8 x_0 + 16 epsilon + 100 z.
    case.set("table", &[2.0, 4.0, 8.0, 16.0, 100.0]);
    let got = case.twin_outputs();
    assert_eq!(got[1], [0.0, 1.0]);
    assert_eq!(got[0], [104.0, -88.0]);
}

#[test]
fn nan_is_not_clipped_away() {
    for p in cases() {
        let mut case = inputs(p.clone(), 1);
        let mut output = case.floats("model_output").to_vec();
        output[0] = f32::NAN;
        case.set("model_output", &output);
        for values in case.twin_outputs() {
            let nans: Vec<bool> = values.iter().map(|v| v.is_nan()).collect();
            assert!(nans[0] && !nans[1..].contains(&true), "{}", case.name());
        }
    }
}

#[test]
fn what_is_no_step_is_refused() {
    let good = cases().remove(0);
    for bad in [
        DdimStep { batch: 0, ..good.clone() },
        DdimStep { width: 0, ..good.clone() },
        DdimStep { steps: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("ddim"), "ddim");
    }
}
