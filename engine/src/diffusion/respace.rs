//! Which steps of a diffusion process are taken.

use alloc::vec::Vec;

use super::schedule::check_diffusion_steps;
use crate::{Error, Result};

/// The field that errors name.
const FIELD: &str = "timestep_respacing";

/// The timesteps kept of a process of `diffusion_steps`, ascending and each once, from a string as
/// guided-diffusion's flag `timestep_respacing` takes it:
///
/// - `""`: all steps;
/// - `"ddimN"`: N steps, at the smallest integer stride from 0 that gives exactly N (Song et al. 2020,
///   <https://arxiv.org/abs/2010.02502>); N is at least 2;
/// - `"a,b,c"`: the process is cut into as many sections of equal length (the first ones longer by
///   one where that does not come out even), and a, b, c steps are spread over them, from the first of
///   a section to its last. A section given one step takes its first; given 0 or fewer, none.
///
/// Numbers are read as Python's `int()` does: spaces around, a sign and single underscores between
/// digits are accepted.
///
/// # Errors
/// [`Error::Config`] on `timestep_respacing` where the string is none of these, where no integer
/// stride gives the count (with the nearest counts that one gives), where a section has fewer steps
/// than were asked of it, or where no step is left; on `diffusion_steps` where there are none or more
/// than [`MAX_DIFFUSION_STEPS`](super::MAX_DIFFUSION_STEPS).
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

/// The steps of `"ddimN"`.
fn strided(diffusion_steps: usize, respacing: &str, count: &str) -> Result<Vec<usize>> {
    let refuse = |expected| Error::config(FIELD, expected, alloc::format!("{respacing:?}"));
    let Some(count) = python_int(count) else {
        return Err(refuse("\"ddim\" and the number of steps, as in \"ddim25\"".into()));
    };
    let count_at = |stride: usize| diffusion_steps.div_ceil(stride) as i64;
    // A stride as long as the process would be one step; guided-diffusion does not look at it.
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

/// The steps of `"a,b,c"`.
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
        // Summed, not multiplied, and rounded half to even: what Python's loop gives, to the bit.
        let stride = if count <= 1 { 1.0 } else { (size - 1) as f64 / (count - 1) as f64 };
        let mut at = 0.0;
        for _ in 0..count {
            timesteps.push(start + libm::rint(at) as usize);
            at += stride;
        }
        start += size;
    }
    // They ascend already: a stride is at least 1, and of exactly 1 gives integers.
    timesteps.dedup();
    if timesteps.is_empty() {
        return Err(Error::config(FIELD, "at least one step", alloc::format!("{respacing:?}")));
    }
    Ok(timesteps)
}

/// A number as Python's `int()` reads it; what does not fit 64 bits is the nearest that does.
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
