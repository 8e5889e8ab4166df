//! Respacing: the choice of a few of the trained timesteps.

use alloc::vec::Vec;

use super::schedule::check_diffusion_steps;
use crate::{Error, Result};

/// The field named in errors.
const FIELD: &str = "timestep_respacing";

/// Returns the timesteps of a process of `diffusion_steps` that `respacing` keeps, in ascending order and
/// without duplicates. `respacing` has the format of guided-diffusion's flag `timestep_respacing`:
///
/// - `""`: all steps.
/// - `"ddimN"`: N steps from 0 on, at the smallest integer stride that gives exactly N steps (Song et al.
///   2020, <https://arxiv.org/abs/2010.02502>). N is at least 2.
/// - `"a,b,c"`: one section of the process per number. All sections have the same length, or the first
///   ones are longer by one if the number of steps does not divide evenly. The a, b and c steps are
///   spread evenly over their sections, from the first step of a section to its last. A count of 1
///   keeps the first step of the section, and a count of 0 or less keeps none.
///
/// Numbers are parsed as by Python's `int()`: surrounding spaces, a sign, and single underscores between
/// digits are accepted.
///
/// # Errors
/// Returns [`Error::Config`] on `timestep_respacing` if
///
/// - the string has none of these formats,
/// - no integer stride gives N steps (the error lists the nearest possible counts),
/// - a section has fewer steps than its count, or
/// - no step is left.
///
/// Returns [`Error::Config`] on `diffusion_steps` if it is 0 or more than
/// [`MAX_DIFFUSION_STEPS`](super::MAX_DIFFUSION_STEPS).
pub fn space_timesteps(diffusion_steps: usize, respacing: &str) -> Result<Vec<usize>> {
    check_diffusion_steps(diffusion_steps)?;
    if respacing.is_empty() {
        return Ok((0..diffusion_steps).collect());
    }
    match respacing.strip_prefix("ddim") {
        Some(count) => strided(diffusion_steps, respacing, count),
        None => sections(diffusion_steps, respacing),
    }
}

/// Returns the steps of `"ddimN"`.
fn strided(diffusion_steps: usize, respacing: &str, count: &str) -> Result<Vec<usize>> {
    let refuse = |expected| Error::config(FIELD, expected, alloc::format!("{respacing:?}"));
    let Some(count) = python_int(count) else {
        return Err(refuse("\"ddim\" and the number of steps, as in \"ddim25\"".into()));
    };
    let count_at = |stride: usize| diffusion_steps.div_ceil(stride) as i64;
    // A stride as long as the process would give one step. guided-diffusion does not try it.
    let strides = 1..diffusion_steps;
    if let Some(stride) = strides.clone().find(|&stride| count_at(stride) == count) {
        return Ok((0..diffusion_steps).step_by(stride).collect());
    }
    let below = strides.clone().map(count_at).filter(|&possible| possible < count).max();
    let above = strides.map(count_at).filter(|&possible| possible > count).min();
    Err(refuse(match (below, above) {
        (Some(below), Some(above)) => alloc::format!(
            "a number of steps that an integer stride over {diffusion_steps} steps gives, the \
             nearest being ddim{below} and ddim{above} (or \"{count}\", whose stride need not be an integer)"
        ),
        (Some(most), None) => alloc::format!("at most ddim{most}, all steps there are"),
        (None, Some(least)) => alloc::format!("at least ddim{least}"),
        (None, None) => "\"\" or \"1\", the process having one step".into(),
    }))
}

/// Returns the steps of `"a,b,c"`.
fn sections(diffusion_steps: usize, respacing: &str) -> Result<Vec<usize>> {
    let counts = respacing.split(',').map(python_int).collect::<Option<Vec<i64>>>().ok_or_else(|| {
        Error::config(
            FIELD,
            "\"\", \"ddimN\", or numbers of steps with commas between them",
            alloc::format!("{respacing:?}"),
        )
    })?;
    let (shortest, longer) = (diffusion_steps / counts.len(), diffusion_steps % counts.len());
    let mut timesteps = Vec::new();
    let mut start = 0;
    for (section, &count) in counts.iter().enumerate() {
        let size = shortest + usize::from(section < longer);
        if count > size as i64 {
            return Err(Error::config(
                FIELD,
                alloc::format!(
                    "at most {size} steps in section {} of {} over {diffusion_steps} steps",
                    section + 1,
                    counts.len()
                ),
                alloc::format!("{count} in {respacing:?}"),
            ));
        }
        // The stride is summed, not multiplied, and rounded half to even, to match Python's loop bit for bit.
        let stride = if count <= 1 { 1.0 } else { (size - 1) as f64 / (count - 1) as f64 };
        let mut at = 0.0;
        for _ in 0..count {
            timesteps.push(start + libm::rint(at) as usize);
            at += stride;
        }
        start += size;
    }
    // The timesteps ascend already: a stride is at least 1, and a stride of exactly 1 gives integers.
    timesteps.dedup();
    if timesteps.is_empty() {
        return Err(Error::config(FIELD, "at least one step", alloc::format!("{respacing:?}")));
    }
    Ok(timesteps)
}

/// Parses a number as Python's `int()` does, saturating at the limits of 64 bits.
fn python_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut value = 0i64;
    for group in digits.split('_') {
        if group.is_empty() {
            return None;
        }
        for digit in group.chars() {
            value = value.saturating_mul(10).saturating_add(i64::from(digit.to_digit(10)?));
        }
    }
    Some(if negative { -value } else { value })
}
