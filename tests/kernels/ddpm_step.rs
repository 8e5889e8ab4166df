//! Tests `ddpm_step`: the twin against the paper's equations in `f64`, computed from the alphas.

use percept::kernels::Parameters;
use percept::kernels::{DdpmCoefficients, DdpmStep, Prediction};
use percept_tests::{Bound, Case, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one pixel, odd sizes and sizes around a workgroup, with every switch, and with one step
/// and many.
pub fn cases() -> Vec<DdpmStep> {
    let new = |[batch, height, width, channels]: [usize; 4], steps| DdpmStep {
        batch,
        height,
        width,
        channels,
        steps,
        learned_variance: false,
        predict: Prediction::Epsilon,
        clip: false,
    };
    let mut cases = vec![new([1, 1, 1, 1], 1), new([1, 1, 255, 1], 2), new([1, 1, 256, 1], 2), new([1, 1, 257, 1], 2)];
    for learned_variance in [false, true] {
        for predict in [Prediction::Epsilon, Prediction::Start] {
            for clip in [false, true] {
                for steps in [1, 5] {
                    cases.push(DdpmStep { learned_variance, predict, clip, ..new([2, 3, 5, 3], steps) });
                }
            }
        }
    }
    cases
}

/// Returns `alpha_bar` before and after each step, the noisiest first; 1 after the last.
pub fn alphas_cumprod(steps: usize) -> Vec<[f64; 2]> {
    let alpha_bar = |k: usize| ((k + 1) as f64 / (steps + 1) as f64).powi(2);
    (0..steps).map(|k| [alpha_bar(k), alpha_bar(k + 1)]).collect()
}

/// Returns the step that a case of that seed takes.
pub fn step(steps: usize, seed: u64) -> usize {
    seed as usize % steps
}

/// Returns the logarithms of the smallest and the largest variance of a step.
fn log_variances([now, prev]: [f64; 2]) -> [f64; 2] {
    let beta = 1.0 - now / prev;
    let posterior = beta * (1.0 - prev) / (1.0 - now);
    // The variance of the last step is 0; it adds no noise.
    [posterior.max(1e-20).ln(), beta.ln()]
}

/// Creates inputs with the coefficients of a schedule, at one of its steps.
pub fn inputs(p: DdpmStep, seed: u64) -> Case {
    let row = |alphas: [f64; 2]| {
        let [now, prev] = alphas;
        let [min_log_variance, max_log_variance] = log_variances(alphas).map(|v| v as f32);
        DdpmCoefficients {
            sqrt_recip_alphas_cumprod: (1.0 / now).sqrt() as f32,
            sqrt_recipm1_alphas_cumprod: (1.0 / now - 1.0).sqrt() as f32,
            posterior_mean_coef1: (prev.sqrt() * (1.0 - now / prev) / (1.0 - now)) as f32,
            posterior_mean_coef2: ((now / prev).sqrt() * (1.0 - prev) / (1.0 - now)) as f32,
            min_log_variance,
            max_log_variance,
            noise_mask: if prev == 1.0 { 0.0 } else { 1.0 },
        }
    };
    let table: Vec<DdpmCoefficients> = alphas_cumprod(p.steps).into_iter().map(row).collect();
    let state = [step(p.steps, seed) as u32, 3, 4, 5];
    let mut case = Case::random(p, seed);
    case.set("table", bytemuck::cast_slice(&table));
    case.set_words("state", &state);
    case
}

/// Computes `x_0` of an element, depending on what the network predicts.
pub fn x_0(predict: Prediction, clip: bool, alpha_bar: f64, x_t: f64, output: f64) -> f64 {
    let x_0 = match predict {
        Prediction::Epsilon => (x_t - (1.0 - alpha_bar).sqrt() * output) / alpha_bar.sqrt(),
        Prediction::Start => output,
    };
    if clip { x_0.clamp(-1.0, 1.0) } else { x_0 }
}

/// Computes `x_prev` and `x_0`, pixel by pixel: a Gaussian whose mean is equation 7 of Ho et al.
fn truth(p: &DdpmStep, case: &Case, step: usize) -> [Vec<f64>; 2] {
    let c = p.channels;
    let [now, prev] = alphas_cumprod(p.steps)[step];
    let alpha = now / prev;
    let beta = 1.0 - alpha;
    let [min_log, max_log] = log_variances([now, prev]);
    let (mut x_prev, mut starts) = (Vec::new(), Vec::new());
    let outputs = case.floats("model_output").chunks(if p.learned_variance { 2 * c } else { c });
    let pixels = case.floats("x_t").chunks(c).zip(case.floats("noise").chunks(c)).zip(outputs);
    for ((x_t, noise), output) in pixels {
        for channel in 0..c {
            let [x, z, out] = [x_t, noise, output].map(|v| f64::from(v[channel]));
            let start = x_0(p.predict, p.clip, now, x, out);
            let mean = (prev.sqrt() * beta * start + alpha.sqrt() * (1.0 - prev) * x) / (1.0 - now);
            let log_variance = if p.learned_variance {
                let v = (f64::from(output[c + channel]) + 1.0) / 2.0;
                v * max_log + (1.0 - v) * min_log
            } else {
                max_log
            };
            let last = step + 1 == p.steps;
            x_prev.push(mean + if last { 0.0 } else { log_variance.exp().sqrt() * z });
            starts.push(start);
        }
    }
    [x_prev, starts]
}

#[test]
fn the_twin_takes_the_papers_step() {
    for (seed, p) in (0..).zip(cases()) {
        p.check("ddpm").expect("a case that is a step");
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
    let p = DdpmStep {
        batch: 1,
        height: 1,
        width: 1,
        channels: 2,
        steps: 1,
        learned_variance: true,
        predict: Prediction::Epsilon,
        clip: true,
    };
    let mut case = Case::random(p, 0);
    let ln_4 = 4f32.ln();
    case.set("x_t", &[0.5, 1.0]);
    case.set("model_output", &[0.25, -1.0, 1.0, 0.0]);
    case.set("noise", &[1.0, -1.0]);
    // x_0 = 2 x_t - 3 output, mean = 10 x_0 + 100 x_t; variances of 1 at -1 and 16 at 1.
    case.set("table", &[2.0, 3.0, 10.0, 100.0, 0.0, 2.0 * ln_4, 1.0]);
    let [x_prev, x_0] = [[52.5 + 4.0, 110.0 - 2.0], [0.25, 1.0]];
    let got = case.twin_outputs();
    assert_close("x_prev", &got[0], &x_prev, Bound::F32);
    assert_close("x_0", &got[1], &x_0, Bound::EXACT);
}

#[test]
fn nan_is_not_clipped_away() {
    for p in cases() {
        let mut case = inputs(p.clone(), 1);
        let mut output = case.floats("model_output").to_vec();
        output[0] = f32::NAN;
        case.set("model_output", &output);
        let nans = |values: &[f32]| values.iter().map(|v| v.is_nan()).collect::<Vec<bool>>();
        for values in case.twin_outputs() {
            let nans = nans(&values);
            assert!(nans[0] && !nans[1..].contains(&true), "{}", case.name());
        }
    }
}

#[test]
fn what_is_no_step_is_refused() {
    let good = cases().remove(0);
    for bad in [
        DdpmStep { batch: 0, ..good.clone() },
        DdpmStep { channels: 0, ..good.clone() },
        DdpmStep { steps: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("ddpm"), "ddpm");
    }
}
