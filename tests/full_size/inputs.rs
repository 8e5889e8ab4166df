//! Inputs at full size: pseudo-random, and for some kernels restricted to valid inputs.

use percept::Result;
use percept::diffusion::{NoiseSchedule, Sampler, Schedule};
use percept::kernels::{DdimStep, GroupAffine, Kernel};
use percept_tests::{Case, SplitMix};

use crate::ops::STEPS;

/// Returns the kernel with its inputs.
///
/// # Errors
/// Returns an error if a sampler's table cannot be made.
pub fn inputs(kernel: &Kernel, seed: u64) -> Result<Case> {
    let mut case = Case::random(kernel.clone(), seed);
    match kernel {
        // Weights over the keys that are far from equal.
        Kernel::Attention(_) => case.map_floats(|x| 4.0 * x),
        Kernel::GroupAffine(p) => set_statistics(&mut case, p, seed),
        Kernel::LayerNorm(p) => {
            let mut random = SplitMix::new(seed ^ 0x5eed);
            let spread = |x: f32, [mean, spread]: [f32; 2]| 3.0 * mean + (1.5 + spread) * x;
            let tokens = case.floats("source").chunks(p.channels);
            let source: Vec<f32> = tokens
                .flat_map(|token| {
                    let of_token = [random.float(), random.float()];
                    token.iter().map(move |&x| spread(x, of_token))
                })
                .collect();
            case.set("source", &source);
        }
        Kernel::Embedding(p) => {
            let count = case.words("indices").len();
            case.set_words("indices", &vec![p.table_rows as u32 / 2; count]);
        }
        Kernel::DdpmStep(p) => set_step(&mut case, Sampler::Ddpm, &STEPS.to_string(), p.learned_variance)?,
        Kernel::DdimStep(DdimStep { learned_variance, .. }) => {
            set_step(&mut case, Sampler::Ddim { eta: 0.0 }, &format!("ddim{STEPS}"), *learned_variance)?;
        }
        Kernel::NotFinite(_) => {
            let mut source = case.floats("source").to_vec();
            let end = source.len() - 1;
            (source[end / 2], source[end]) = (f32::INFINITY, f32::NAN);
            case.set("source", &source);
        }
        // Values beyond both ends of the range of a byte.
        Kernel::ToRgba8(_) => case.map_floats(|x| 1.25 * x),
        _ => {}
    }
    Ok(case)
}

/// Sets means of any size, and sums of squares, which are not negative.
fn set_statistics(case: &mut Case, p: &GroupAffine, seed: u64) {
    for (name, channels) in ["stats", "second"].into_iter().zip(p.channels).filter(|(_, channels)| *channels > 0) {
        let mut random = SplitMix::new(seed ^ channels as u64);
        let rows = case.words(name).len() / channels;
        let value =
            |row: usize| if row.is_multiple_of(2) { random.float() } else { p.tile as f32 * random.float().abs() };
        let stats: Vec<f32> = (0..rows).flat_map(|row| vec![row; channels]).map(value).collect();
        case.set(name, &stats);
    }
}

/// Sets a sampler's own table, at one of its steps.
fn set_step(case: &mut Case, sampler: Sampler, respacing: &str, learned_variance: bool) -> Result<()> {
    let schedule = Schedule::new(NoiseSchedule::Linear, 1000, respacing)?;
    case.set("table", &sampler.table(&schedule, learned_variance)?);
    case.set_words("state", &[STEPS as u32 / 2, 3, 4, 5]);
    Ok(())
}
