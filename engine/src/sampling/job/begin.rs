//! Starts jobs: checks the options and chooses the batch size.

use std::sync::Arc;

use super::Job;
use crate::device::batch::even_batch;
use crate::sampling::decoder::Decoder;
use crate::sampling::options::SampleOptions;
use crate::sampling::start::Starting;
use crate::sampling::state::{State, foreign};
use crate::tensor::check_finite;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The maximum number of images of one run. The noise generator counts samples in 32 bits.
const MAX_SAMPLES: usize = u32::MAX as usize;

impl Job {
    /// Starts a job that samples `options.samples` images of each condition: a representation, or a small image
    /// `[h, w, c]`.
    ///
    /// # Errors
    /// Returns an error if a condition does not have the length that the model expects, an option is invalid, or the
    /// device fails.
    pub(in crate::sampling) fn start(
        decoder: &Arc<Decoder>,
        conditions: Vec<Vec<f32>>,
        options: &SampleOptions,
    ) -> Result<Job> {
        let total = check(decoder, &conditions, options)?;
        let batch = fitting_batch(decoder, options, total)?;
        Job::of(decoder, conditions, options.clone(), total, batch)
    }

    /// Resumes a job from a state that [`Job::state`] returned.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the bytes are not a state, or belong to another model. Otherwise same as
    /// [`Job::start`].
    pub(in crate::sampling) fn resume(decoder: &Arc<Decoder>, state: &[u8]) -> Result<Job> {
        let state = State::from_bytes(state, &decoder.config)?;
        if state.model != decoder.sha256() {
            let expected = format!("one of {}, SHA-256 {}", decoder.model.name(), decoder.sha256());
            return Err(foreign(expected, format!("one of the model {}", state.model)));
        }
        let total = check(decoder, &state.conditions, &state.options)?;
        let batch = state.options.batch.unwrap_or(1).min(total.max(1));
        if state.images.len() > total || (state.images.len() < total && state.images.len() % batch != 0) {
            return Err(foreign(format!("whole batches of {batch} of {total} images"), state.images.len()));
        }
        let mut job = Job::of(decoder, state.conditions.clone(), state.options.clone(), total, batch)?;
        job.go_on(state)?;
        Ok(job)
    }

    fn of(
        decoder: &Arc<Decoder>,
        rows: Vec<Vec<f32>>,
        options: SampleOptions,
        total: usize,
        batch: usize,
    ) -> Result<Job> {
        let starting = Starting::new(&options.start, &decoder.config, &options.method, total)?;
        let loaded = decoder.load(&options.method, batch)?;
        Job::new(decoder.clone(), loaded, rows, (options, starting), total)
    }
}

/// Checks the conditions and options, and returns the total number of images.
fn check(decoder: &Decoder, conditions: &[Vec<f32>], options: &SampleOptions) -> Result<usize> {
    if options.samples == 0 || options.batch == Some(0) {
        return Err(Error::config("samples and batch", "1 or more", 0));
    }
    let (what, length, expected) = match (decoder.config.small_size, decoder.config.ssl_dim) {
        (0, dim) => ("representation", dim, format!("{dim} elements, as the decoder was trained on")),
        (size, _) => ("small image", size * size * 3, format!("{size}x{size} pixels of 3 channels")),
    };
    let (samples, first) = (options.samples, options.first_sample);
    let fits = |total: &usize| *total <= MAX_SAMPLES - first as usize;
    let total = conditions.len().checked_mul(samples).filter(fits).ok_or_else(|| {
        let got = format!("{samples} of each {what}, of {}, from number {first} on", conditions.len());
        Error::config("samples", format!("at most {MAX_SAMPLES} in all"), got)
    })?;
    if let Some(odd) = conditions.iter().find(|condition| condition.len() != length) {
        return Err(Error::shape(what, expected, odd.len()));
    }
    conditions.iter().try_for_each(|condition| check_finite(what, condition))?;
    match (options.class, decoder.config.classes()) {
        (Some(class), 0) => Err(Error::config("class", "none: the model is not class-conditional", class)),
        (None, classes @ 1..) => {
            Err(Error::config("class", format!("0 to {}: the model wants one", classes - 1), "none"))
        }
        _ => Ok(total),
    }
}

/// Returns the batch size: the requested one, or else the default, reduced until it fits `options.memory`. It is also
/// reduced so that the batches are evenly filled; all of them have the same size and need only one program.
fn fitting_batch(decoder: &Decoder, options: &SampleOptions, total: usize) -> Result<usize> {
    let even = |most: usize| even_batch(most, total);
    let mut batch = even(match options.batch {
        Some(batch) => batch,
        None => decoder.sensible_batch(&options.method)?,
    });
    let Some(most) = options.memory else { return Ok(batch) };
    loop {
        let needed = decoder.estimate(&options.method, batch)?.total();
        if needed <= most {
            return Ok(batch);
        }
        if batch == 1 {
            return Err(Error::out_of_memory("memory", format!("{needed} bytes, for a batch of one"), most));
        }
        // This never makes the batch too small, because it scales the shared weights with the batch, too. If the batch
        // is still too large, the loop reduces it again.
        let share = batch as u128 * most as u128 / needed as u128;
        batch = even((share as usize).clamp(1, batch - 1));
    }
}
