use percept::diffusion::{MAX_PERIOD, NoiseSchedule, Sampler, Schedule, timestep_embeddings};
use percept::kernels::{Advance, DdimStep, DdpmStep, Embedding, Index, Kernel, Prediction, Reads};

use crate::golden::{Golden, assert_close};

fn linear(respacing: &str) -> Schedule {
    Schedule::new(NoiseSchedule::Linear, 1000, respacing).expect("a schedule")
}

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().copied().map(f32::from_bits).collect()
}

fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs a step's twin on floats; the state is the last buffer. Returns x_prev and x_0.
fn step(kernel: impl Into<Kernel>, reads: &[&[f32]], k: u32) -> [Vec<f32>; 2] {
    let kernel = kernel.into();
    let mut buffers: Vec<Vec<u32>> = reads.iter().map(|values| words(values)).collect();
    buffers.push(vec![k, 0, 0, 0]);
    let bindings = kernel.parameters().bindings();
    assert_eq!(bindings.len(), buffers.len() + 2);
    for (binding, buffer) in bindings.iter().zip(&buffers) {
        assert_eq!(binding.shape.elements(), buffer.len(), "{}", binding.name);
    }
    let elements = reads[0].len();
    let (mut x_prev, mut x_0) = (vec![0u32; elements], vec![0u32; elements]);
    let reads: Vec<&[u32]> = buffers.iter().map(Vec::as_slice).collect();
    percept::reference::run(&kernel, Reads::new(&reads), &mut [&mut x_prev, &mut x_0]);
    [floats(&x_prev), floats(&x_0)]
}

/// Tests the first step of whole sampling runs, given the `x_0` that follows from the network's output.
#[test]
fn the_first_step_is_guided_diffusions() {
    let cases = [
        ("sampler_ddim_10", Sampler::Ddim { eta: 0.0 }, true),
        ("sampler_ddim_eta05_8", Sampler::Ddim { eta: 0.5 }, true),
        ("sampler_fixed_large_8", Sampler::Ddpm, false),
    ];
    for (name, sampler, learned_variance) in cases {
        let golden = Golden::open(name);
        let config = golden.config();
        assert_eq!(config["learn_sigma"], learned_variance, "{name}");
        let schedule = linear(config["timestep_respacing"].as_str().expect("a string"));
        let table = sampler.table(&schedule, learned_variance).expect("a table");
        let [x_t, x_0, want, noise] =
            ["in.xT", "out.x0_after_step0", "out.x_after_step0", "in.noise"].map(|tensor| golden.f32s(tensor));
        let noise = &noise[..x_t.len()];
        // An elementwise kernel ignores the order of elements, so use one row of pixels with one channel.
        let (batch, height, width, channels) = (1, 1, x_t.len(), 1);
        let (steps, predict, clip) = (schedule.steps(), Prediction::Start, true);
        let learned_variance = false;
        let [got, got_x_0] = match sampler {
            Sampler::Ddpm => step(
                DdpmStep { batch, height, width, channels, steps, learned_variance, predict, clip },
                &[&x_t, &x_0, noise, &table],
                0,
            ),
            _ if sampler.adds_noise() => step(
                DdimStep { batch, height, width, channels, steps, learned_variance, predict, clip, noise: true },
                &[&x_t, &x_0, noise, &table],
                0,
            ),
            _ => step(
                DdimStep { batch, height, width, channels, steps, learned_variance, predict, clip, noise: false },
                &[&x_t, &x_0, &table],
                0,
            ),
        };
        assert_eq!(got_x_0, x_0, "{name}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!((got - want).abs() <= 2e-6, "{name}[{i}]: got {got}, want {want}");
        }
    }
}

/// Returns numbers that are spread over -amplitude..amplitude without a pattern.
fn spread(count: usize, amplitude: f32, salt: u32) -> Vec<f32> {
    let word = |i: u32| (i.wrapping_mul(2_654_435_761) ^ salt).wrapping_mul(0x9e37_79b1) >> 8;
    (0..count as u32).map(|i| (word(i) as f32 / 8_388_608.0 - 1.0) * amplitude).collect()
}

const SIZES: [usize; 4] = [2, 3, 2, 3];
const ELEMENTS: usize = 36;

/// Computes x_0 by the formula, in f64.
fn x_0_of(schedule: &Schedule, t: usize, predict: Prediction, clip: bool, x_t: f64, output: f64) -> f64 {
    let bar = schedule.alphas_cumprod[t];
    let x_0 = match predict {
        Prediction::Epsilon => (x_t - (1.0 - bar).sqrt() * output) / bar.sqrt(),
        Prediction::Start => output,
    };
    if clip { x_0.clamp(-1.0, 1.0) } else { x_0 }
}

/// Asserts that a value is within a few roundings of values as large as `scale`.
fn assert_near(what: &str, got: f32, want: f64, scale: f64) {
    let bound = 3e-7 * scale;
    assert!((f64::from(got) - want).abs() <= bound, "{what}: got {got}, want {want}, bound {bound}");
}

/// Checks every step, switch and element of ancestral sampling by the formulas of Ho et al. and of Nichol and
/// Dhariwal.
#[test]
fn ddpm_steps_follow_the_paper() {
    let schedule = linear("6");
    let [batch, height, width, channels] = SIZES;
    let (x_t, noise) = (spread(ELEMENTS, 2.0, 1), spread(ELEMENTS, 3.0, 2));
    for learned_variance in [false, true] {
        let table = Sampler::Ddpm.table(&schedule, learned_variance).expect("a table");
        assert_eq!(table.len(), 6 * DdpmStep::COLUMNS);
        let out = channels * (1 + usize::from(learned_variance));
        let output = spread(ELEMENTS / channels * out, 1.5, 3);
        for (predict, clip) in [(Prediction::Epsilon, true), (Prediction::Epsilon, false), (Prediction::Start, true)] {
            for k in 0..6 {
                let kernel = DdpmStep { batch, height, width, channels, steps: 6, learned_variance, predict, clip };
                let [x_prev, x_0] = step(kernel, &[&x_t, &output, &noise, &table], k as u32);
                let t = 5 - k;
                for i in 0..ELEMENTS {
                    let what = format!("learned {learned_variance} {predict:?} clip {clip} step {k} element {i}");
                    let (pixel, c) = (i / channels, i % channels);
                    let x = f64::from(x_t[i]);
                    let want_0 = x_0_of(&schedule, t, predict, clip, x, f64::from(output[pixel * out + c]));
                    assert_near(&what, x_0[i], want_0, 3.5 / schedule.alphas_cumprod[t].sqrt());

                    let (bar, beta) = (schedule.alphas_cumprod[t], schedule.betas[t]);
                    let bar_prev = if t == 0 { 1.0 } else { schedule.alphas_cumprod[t - 1] };
                    let posterior = |t: usize| {
                        let bar_prev = if t == 0 { 1.0 } else { schedule.alphas_cumprod[t - 1] };
                        (1.0 - bar_prev) / (1.0 - schedule.alphas_cumprod[t]) * schedule.betas[t]
                    };
                    let mean = bar_prev.sqrt() * beta / (1.0 - bar) * f64::from(x_0[i])
                        + (1.0 - beta).sqrt() * (1.0 - bar_prev) / (1.0 - bar) * x;
                    let variance = if learned_variance {
                        let fraction = (f64::from(output[pixel * out + channels + c]) + 1.0) / 2.0;
                        (fraction * beta.ln() + (1.0 - fraction) * posterior(t.max(1)).ln()).exp()
                    } else if t == 0 {
                        posterior(1)
                    } else {
                        beta
                    };
                    let added = if t == 0 { 0.0 } else { variance.sqrt() * f64::from(noise[i]) };
                    let scale = f64::from(x_0[i]).abs() + x.abs() + added.abs();
                    assert_near(&what, x_prev[i], mean + added, scale);
                }
            }
        }
    }
}

/// Checks every step, switch and element of implicit sampling by equations 12 and 16 of Song et al.
#[test]
fn ddim_steps_follow_the_paper() {
    let schedule = linear("ddim5");
    let [batch, height, width, channels] = SIZES;
    let (x_t, new_noise) = (spread(ELEMENTS, 2.0, 1), spread(ELEMENTS, 3.0, 2));
    let samplers =
        [Sampler::Ddim { eta: 0.0 }, Sampler::Ddim { eta: 0.3 }, Sampler::Ddim { eta: 1.0 }, Sampler::DdimReverse];
    for (sampler, learned_variance) in samplers.into_iter().flat_map(|s| [(s, false), (s, true)]) {
        let table = sampler.table(&schedule, learned_variance).expect("a table");
        assert_eq!(table.len(), 5 * DdimStep::COLUMNS);
        let out = channels * (1 + usize::from(learned_variance));
        let output = spread(ELEMENTS / channels * out, 1.5, 3);
        let noise = sampler.adds_noise();
        let (predict, clip, steps) = (Prediction::Epsilon, true, 5);
        let kernel = DdimStep { batch, height, width, channels, steps, learned_variance, predict, clip, noise };
        for k in 0..5 {
            let [x_prev, x_0] = match noise {
                true => step(kernel.clone(), &[&x_t, &output, &new_noise, &table], k as u32),
                false => step(kernel.clone(), &[&x_t, &output, &table], k as u32),
            };
            let bar_at = |t: usize| schedule.alphas_cumprod[t];
            let (t, to, eta) = match sampler {
                Sampler::Ddim { eta } => (4 - k, if k == 4 { 1.0 } else { bar_at(3 - k) }, eta),
                _ => (k, if k == 4 { 0.0 } else { bar_at(k + 1) }, 0.0),
            };
            for i in 0..ELEMENTS {
                let what = format!("{sampler:?} learned {learned_variance} step {k} element {i}");
                let x = f64::from(x_t[i]);
                let output = f64::from(output[i / channels * out + i % channels]);
                let want_0 = x_0_of(&schedule, t, predict, clip, x, output);
                assert_near(&what, x_0[i], want_0, 3.5 / bar_at(t).sqrt());
                let found = (x - bar_at(t).sqrt() * f64::from(x_0[i])) / (1.0 - bar_at(t)).sqrt();
                let sigma = if eta == 0.0 || t == 0 {
                    0.0
                } else {
                    eta * ((1.0 - to) / (1.0 - bar_at(t)) * (1.0 - bar_at(t) / to)).sqrt()
                };
                let direction = (1.0 - to - sigma * sigma).max(0.0).sqrt();
                let added = sigma * f64::from(new_noise[i]);
                let want = to.sqrt() * f64::from(x_0[i]) + direction * found + added;
                // The recomputed noise is a difference, divided by a value that is small at the last steps.
                let scale = 1.0 + 3.0 * direction / (1.0 - bar_at(t)).sqrt() + added.abs();
                assert_near(&what, x_prev[i], want, scale);
            }
        }
    }
}

#[test]
fn nan_of_the_network_is_not_hidden_by_the_clip() {
    let schedule = linear("2");
    let table = Sampler::Ddim { eta: 0.0 }.table(&schedule, false).expect("a table");
    let kernel = DdimStep {
        batch: 1,
        height: 1,
        width: 1,
        channels: 1,
        steps: 2,
        learned_variance: false,
        predict: Prediction::Epsilon,
        clip: true,
        noise: false,
    };
    let [x_prev, x_0] = step(kernel, &[&[0.5], &[f32::NAN], &table], 0);
    assert!(x_prev[0].is_nan() && x_0[0].is_nan());
}

/// At eta 1 the noise of a step is that of ancestral sampling's posterior.
#[test]
fn sigma_at_eta_1_is_the_posteriors() {
    let schedule = linear("50");
    let table = Sampler::Ddim { eta: 1.0 }.table(&schedule, true).expect("a table");
    let sigmas: Vec<f64> = table.chunks(DdimStep::COLUMNS).map(|row| f64::from(row[4])).collect();
    let want: Vec<f64> = schedule.posterior_variance.iter().rev().map(|variance| variance.sqrt()).collect();
    assert_close("sigma", &sigmas, &want, 1e-7);
    assert_eq!(sigmas[49], 0.0);
}

#[test]
fn steps_are_taken_in_order() {
    let schedule = linear("ddim10");
    let down: Vec<f32> = (0..10).rev().map(|i| (i * 100) as f32).collect();
    let up: Vec<f32> = (0..10).map(|i| (i * 100) as f32).collect();
    assert_eq!(Sampler::Ddpm.timesteps(&schedule, false), down);
    assert_eq!(Sampler::Ddim { eta: 0.0 }.timesteps(&schedule, true), down);
    assert_eq!(Sampler::DdimReverse.timesteps(&schedule, false), up);

    let schedule = Schedule::new(NoiseSchedule::Cosine, 4000, "4").expect("a schedule");
    assert_eq!(Sampler::Ddpm.timesteps(&schedule, false), [3999.0, 2666.0, 1333.0, 0.0]);
    assert_eq!(Sampler::Ddpm.timesteps(&schedule, true), [999.75, 666.5, 333.25, 0.0]);
}

#[test]
fn one_step_makes_the_image_in_one_go() {
    let schedule = linear("1");
    for (sampler, columns) in [(Sampler::Ddpm, DdpmStep::COLUMNS), (Sampler::Ddim { eta: 1.0 }, DdimStep::COLUMNS)] {
        for learned_variance in [false, true] {
            let table = sampler.table(&schedule, learned_variance).expect("a table");
            assert_eq!(table.len(), columns);
            assert!(table.iter().all(|value| value.is_finite()), "{table:?}");
            assert!((table[2] - 1.0).abs() <= 1e-6 && table[3] == 0.0 && table[columns - 1] == 0.0, "{table:?}");
        }
    }
}

#[test]
fn wrong_samplers_are_named() {
    assert_eq!(Sampler::new("ddpm", 0.0), Ok(Sampler::Ddpm));
    assert_eq!(Sampler::new("ddim", 0.25), Ok(Sampler::Ddim { eta: 0.25 }));
    assert_eq!(Sampler::new("ddim-reverse", 0.0), Ok(Sampler::DdimReverse));
    let cases = [
        ("euler", 0.0, "sampler: expected \"ddpm\", \"ddim\" or \"ddim-reverse\", got \"euler\""),
        ("ddim", 1.5, "eta: expected a number from 0 to 1, got 1.5"),
        ("ddim", -0.1, "eta: expected a number from 0 to 1, got -0.1"),
        ("ddim", f64::NAN, "eta: expected a number from 0 to 1, got NaN"),
        ("ddim", f64::INFINITY, "eta: expected a number from 0 to 1, got inf"),
        ("ddim-reverse", 0.5, "eta: expected 0 with ddim-reverse: only ddim takes one, from 0 to 1, got 0.5"),
        ("ddim-reverse", f64::NAN, "eta: expected 0 with ddim-reverse: only ddim takes one, from 0 to 1, got NaN"),
        ("ddpm", 1.0, "eta: expected 0 with ddpm: only ddim takes one, from 0 to 1, got 1"),
    ];
    for (name, eta, want) in cases {
        assert_eq!(Sampler::new(name, eta).expect_err(name).to_string(), want);
    }
    assert!(Sampler::Ddim { eta: 2.0 }.table(&linear("10"), true).is_err());
}

/// Compares with the formula in f64. The bound is the rounding of the frequency, multiplied by the timestep.
#[test]
fn embeddings_are_cosines_then_sines() {
    let timesteps = [0.0, 1.0, 37.5, 999.0];
    for channels in [0, 1, 2, 7, 32, 256] {
        let half = channels / 2;
        let embeddings = timestep_embeddings(&timesteps, channels, MAX_PERIOD);
        assert_eq!(embeddings.len(), 4 * channels);
        for (k, &timestep) in timesteps.iter().enumerate() {
            let row = &embeddings[k * channels..][..channels];
            for i in 0..half {
                let angle = f64::from(timestep) * f64::powf(10_000.0, -(i as f64) / half as f64);
                let bound = 1e-7 + angle * 1e-6;
                for (name, got, want) in [("cos", row[i], angle.cos()), ("sin", row[half + i], angle.sin())] {
                    assert!((f64::from(got) - want).abs() <= bound, "{name} {channels} {timestep} {i}: {got} {want}");
                }
            }
            if channels % 2 == 1 {
                assert_eq!(row[channels - 1], 0.0);
            }
        }
    }
}

#[test]
fn rows_are_looked_up_by_sample_or_by_step() {
    let table: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let look_up = |index, indices: &[u32]| {
        let kernel = Embedding { table_rows: 4, channels: 3, batch: 2, index };
        let mut output = [0u32; 6];
        percept::reference::run(&kernel.into(), Reads::new(&[&words(&table), indices]), &mut [&mut output]);
        floats(&output)
    };
    assert_eq!(look_up(Index::PerSample, &[2, 0]), [6.0, 7.0, 8.0, 0.0, 1.0, 2.0]);
    assert_eq!(look_up(Index::Step, &[1, 3, 3, 3]), [3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
    // An index past the table selects the last row.
    assert_eq!(look_up(Index::PerSample, &[4, u32::MAX]), [9.0, 10.0, 11.0, 9.0, 10.0, 11.0]);
}

#[test]
fn the_state_advances_by_one_step() {
    let mut next = [0u32; 4];
    percept::reference::run(&Advance {}.into(), Reads::new(&[&[7, 8, 9, 10]]), &mut [&mut next]);
    assert_eq!(next, [8, 8, 9, 10]);
}
