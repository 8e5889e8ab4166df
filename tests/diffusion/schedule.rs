use percept::Error;
use percept::diffusion::{MAX_DIFFUSION_STEPS, NoiseSchedule, Schedule};

use crate::golden::{Golden, assert_close};

/// The golden has every table but `alphas_cumprod_next`.
const GOLDEN_TABLES: usize = 9;

#[test]
fn tables_are_guided_diffusions() {
    let golden = Golden::open("schedules");
    let config = golden.config();
    let cases = config.as_array().expect("an array of schedules");
    assert_eq!(cases.len(), 6);
    for (index, case) in cases.iter().enumerate() {
        let kind: NoiseSchedule = case["noise_schedule"].as_str().expect("a name").parse().expect("a known name");
        let steps = case["steps"].as_u64().expect("a number") as usize;
        let respacing = case["respacing"].as_str().expect("a string");
        let schedule = Schedule::new(kind, steps, respacing).expect("a schedule");

        assert_eq!(schedule.timestep_map, golden.usizes(&format!("{index}.timestep_map")), "{case}");
        assert_eq!(schedule.diffusion_steps, steps);
        let mut compared = 0;
        for (name, table) in schedule.tables() {
            if name == "alphas_cumprod_next" {
                continue;
            }
            let want = golden.f64s(&format!("{index}.{name}"));
            assert_close(&format!("{case} {name}"), table, &want, 1e-12);
            compared += 1;
        }
        assert_eq!(compared, GOLDEN_TABLES);
    }
}

#[test]
fn next_is_one_ahead_and_ends_in_nothing() {
    let schedule = Schedule::new(NoiseSchedule::Linear, 1000, "10").expect("a schedule");
    assert_eq!(schedule.alphas_cumprod_next[..9], schedule.alphas_cumprod[1..]);
    assert_eq!(schedule.alphas_cumprod_next[9], 0.0);
}

#[test]
fn respacing_keeps_the_noise_of_each_step() {
    for kind in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
        let all = Schedule::new(kind, 1000, "").expect("a schedule");
        let some = Schedule::new(kind, 1000, "7,3,11").expect("a schedule");
        let want: Vec<f64> = some.timestep_map.iter().map(|&t| all.alphas_cumprod[t]).collect();
        // They do not agree to the last bits: near beta = 1, alpha = 1 - beta has lost some of them.
        assert_close("alphas_cumprod", &some.alphas_cumprod, &want, 1e-10);
    }
}

#[test]
fn fixed_large_variance_is_beta_but_for_the_first() {
    let schedule = Schedule::new(NoiseSchedule::Linear, 1000, "25").expect("a schedule");
    let mut want: Vec<f64> = schedule.betas.iter().map(|beta| beta.ln()).collect();
    want[0] = schedule.posterior_variance[1].ln();
    assert_close("fixed large", &schedule.fixed_large_log_variance(), &want, 1e-14);
}

/// guided-diffusion stops with an IndexError here.
#[test]
fn one_step_predicts_the_image() {
    for (steps, respacing) in [(1000, "1"), (1, "")] {
        for kind in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
            let schedule = Schedule::new(kind, steps, respacing).expect("a schedule");
            assert_eq!(schedule.steps(), 1);
            assert_eq!(schedule.timestep_map, [0]);
            assert_eq!(schedule.posterior_variance, [0.0]);
            assert_close("coef1", &schedule.posterior_mean_coef1, &[1.0], 1e-12);
            assert_eq!(schedule.posterior_mean_coef2, [0.0]);
            assert_eq!(schedule.posterior_log_variance_clipped, schedule.fixed_large_log_variance());
            for (name, table) in schedule.tables() {
                assert!(table.len() == 1 && table[0].is_finite(), "{name}: {table:?}");
            }
        }
    }
}

#[test]
fn every_table_is_finite_wherever_a_schedule_is_made() {
    for kind in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
        for steps in (1..60).chain([400, 4000]) {
            match Schedule::new(kind, steps, "") {
                Ok(schedule) => {
                    for (name, table) in schedule.tables() {
                        assert_eq!(table.len(), steps);
                        assert!(table.iter().all(|value| value.is_finite()), "{kind} {steps} {name}");
                    }
                }
                // With so few steps, the last beta of 20 / steps is 1 or more.
                Err(Error::Config(at)) => {
                    assert_eq!((kind, at.at.as_str()), (NoiseSchedule::Linear, "diffusion_steps"));
                    assert!((2..=20).contains(&steps), "{kind} {steps}: {at}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn wrong_fields_are_named() {
    let error = "quadratic".parse::<NoiseSchedule>().expect_err("no such schedule");
    assert_eq!(error.to_string(), "noise_schedule: expected \"linear\" or \"cosine\", got \"quadratic\"");
    for kind in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
        assert_eq!(kind.name().parse::<NoiseSchedule>(), Ok(kind));
        let longest = Schedule::new(kind, MAX_DIFFUSION_STEPS, "2").expect("the longest process");
        assert_eq!(longest.alphas_cumprod.len(), 2);
        for steps in [0, MAX_DIFFUSION_STEPS + 1, usize::MAX] {
            let error = Schedule::new(kind, steps, "").expect_err("no such process");
            assert_eq!(
                error.to_string(),
                format!("diffusion_steps: expected between 1 and 1000000 steps, got {steps}")
            );
        }
    }
}
