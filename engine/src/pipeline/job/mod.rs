//! A sampling run that is taken a slice at a time: by a window that stays smooth, or to its end.

mod clock;
mod progress;
mod slices;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clock::now;
use image::RgbImage;
pub use progress::{CancelToken, Progress, Status};

use crate::Result;
use crate::pipeline::decoder::{Decoder, Loaded, SampleOptions};
use crate::pipeline::sampling::Batch;
use crate::pipeline::start::Starting;
use crate::pipeline::state::{State, foreign};
use crate::program::Memory;

/// What a call that waits hands to the device at once: long enough to cost nothing, and far from the 2 s after which
/// Windows resets a GPU.
const WAITING_SLICE: Duration = Duration::from_millis(400);

/// A sampling run under way, made by [`Rcdm::start`](crate::pipeline::Rcdm::start) or
/// [`Upsampler::start`](crate::pipeline::Upsampler::start).
///
/// [`Job::advance`] takes as much of it as fits a time; [`Job::step`] and [`Job::finish`] wait. A job may be moved to another
/// thread. Dropped, it stops.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use percept::pipeline::{Device, Rcdm, SampleOptions, Status};
///
/// # fn main() -> percept::Result<()> {
/// let rcdm = Rcdm::open("decoder.safetensors".as_ref(), &Device::named("auto")?)?;
/// let mut job = rcdm.start(&[&vec![0.0; rcdm.config().ssl_dim]], &SampleOptions::default())?;
/// while job.advance(Duration::from_millis(8))?.status == Status::Running {
///     // Draw a frame.
/// }
/// let images = job.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct Job {
    decoder: Arc<Decoder>,
    loaded: Loaded,
    /// Representations, or small images.
    conditions: Vec<Vec<f32>>,
    options: SampleOptions,
    starting: Starting,
    /// Images in all, and of a batch.
    total: usize,
    batch: usize,
    /// The batch that is being sampled, and how many of its steps have been taken and checked.
    index: usize,
    taken: usize,
    /// The next op of the program to be handed to the device, and which step it belongs to.
    next: usize,
    step: usize,
    /// What the device has of it, oldest first.
    under_way: VecDeque<Range<usize>>,
    check: Check,
    /// x_t of the step that this batch begins with, where it is not what the program draws.
    resume: Option<Vec<f32>>,
    /// Of whole batches, in order.
    images: Vec<RgbImage>,
    keep_every: Option<usize>,
    kept: Option<Vec<u8>>,
    token: CancelToken,
    /// When the first step had been taken, and how many had been then.
    since: Option<(Instant, usize)>,
    /// See [`Progress::slice`].
    slice: Option<Duration>,
    /// The batch whose x_0 lies on the device.
    in_view: Option<usize>,
}

/// What is read of a step before the next one may end.
#[derive(Default)]
struct Check {
    /// Whether a step has been handed over and not been checked.
    is_open: bool,
    /// Slices that were under way when its last one was handed over, and have not ended.
    behind: usize,
    /// Whether the last one was recorded: then it is read when it has ended, for who knows when it is submitted.
    is_recorded: bool,
    /// Whether it was found to be finite.
    is_finite: bool,
    x: Option<Vec<f32>>,
}

impl Job {
    /// A job for `total` images in batches of the loaded program.
    pub(super) fn new(
        decoder: Arc<Decoder>,
        loaded: Loaded,
        conditions: Vec<Vec<f32>>,
        (options, starting): (SampleOptions, Starting),
        total: usize,
    ) -> Result<Self> {
        let batch = loaded.batch;
        let mut job = Job {
            decoder,
            loaded,
            conditions,
            options,
            starting,
            total,
            batch,
            index: 0,
            taken: 0,
            next: 0,
            step: 0,
            under_way: VecDeque::new(),
            check: Check::default(),
            resume: None,
            images: Vec::new(),
            keep_every: None,
            kept: None,
            token: CancelToken::default(),
            since: None,
            slice: None,
            in_view: None,
        };
        job.begin_batch(None)?;
        Ok(job)
    }

    /// Goes on from a state: its images are there, its step is the next.
    ///
    /// # Errors
    /// Where there is no such step.
    pub(super) fn go_on(&mut self, state: State) -> Result<()> {
        let (passed, steps) = (self.starting.passed, self.loaded.sampling.steps());
        if state.step >= steps || (state.step > 0 && (state.step <= passed || state.images.len() == self.total)) {
            let expected = format!("a step below {steps} and above {passed}, of a run that is not over");
            return Err(foreign(expected, state.step));
        }
        self.index = state.images.len().div_ceil(self.batch);
        self.images = state.images;
        self.begin_batch(state.x.map(|x| (state.step, x)))
    }

    /// Takes as much of the run as the device needs `budget` for, and does not wait for it. On a GPU that is what is
    /// handed over, beside what is still under way; on the CPU, what is done before this returns. At least one op is
    /// taken, where nothing is under way, however long it takes.
    ///
    /// # Errors
    /// Where the device fails or a result is not finite.
    pub fn advance(&mut self, budget: Duration) -> Result<Progress> {
        let began = now();
        let mut handed_over = false;
        self.slice = None;
        self.collect()?;
        while self.is_running() {
            // On the host, what was done is over, and counts by the clock.
            let spent = if self.under_way.is_empty() { now() - began } else { Duration::ZERO };
            let Some(slice) = self.fitting(budget.saturating_sub(spent), !handed_over) else { break };
            if !self.hand_over(slice)? {
                break;
            }
            handed_over = true;
            self.collect()?;
        }
        Ok(self.progress())
    }

    /// As [`Job::advance`], but records what it takes of the run, at most the rest of a step, into an encoder of a host that
    /// submits it, beside its own work if it likes, before it calls the job again. What tells whether a step is finite is
    /// still read by a small submit of the job's own.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) where the job does not run on a GPU;
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), by a later call, where the encoder was never submitted: the run can
    /// go on from a state only. As [`Job::advance`].
    #[cfg(feature = "gpu")]
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder, budget: Duration) -> Result<Progress> {
        self.slice = None;
        self.collect()?;
        if self.is_running()
            && let Some(slice) = self.fitting(budget, true)
        {
            self.restore(&slice)?;
            let begun = self.gpu_executor()?.try_record(encoder, slice.clone())?;
            self.handed_over(begun, slice, Duration::ZERO);
            self.check.is_recorded = true;
        }
        Ok(self.progress())
    }

    /// Takes the rest of the step that the run is at; waits for it.
    ///
    /// # Errors
    /// As [`Job::advance`].
    pub fn step(&mut self) -> Result<Progress> {
        let before = self.steps_taken();
        self.slice = None;
        self.collect()?;
        while self.is_running() && self.steps_taken() == before {
            let handed_over = match self.ready() {
                Some(ready) => self.hand_over(self.slice_of(ready, WAITING_SLICE.as_secs_f64()))?,
                None => false,
            };
            if !handed_over {
                self.loaded.executor.wait()?;
            }
            self.collect()?;
        }
        Ok(self.progress())
    }

    /// Takes the run to its end, waits for it, and gives the images of each representation or small image; of a run that was
    /// cancelled, those that are whole.
    ///
    /// # Errors
    /// As [`Job::advance`].
    pub fn finish(mut self) -> Result<Vec<Vec<RgbImage>>> {
        while self.step()?.status == Status::Running {}
        let mut rows: Vec<Vec<RgbImage>> = self.conditions.iter().map(|_| Vec::new()).collect();
        for (place, image) in std::mem::take(&mut self.images).into_iter().enumerate() {
            rows[place / self.options.samples].push(image);
        }
        if self.is_over() {
            // All is computed, but what it took may not have been told yet; then the next job can have it.
            while !self.under_way.is_empty() {
                self.loaded.executor.wait()?;
                self.collect()?;
            }
            self.decoder.put_back(self.loaded);
        }
        Ok(rows)
    }

    /// Takes the run to its end, as [`Job::finish`] does, and calls `on_step` after each step.
    pub(super) fn finish_with(
        mut self,
        on_step: &mut dyn FnMut(&mut Job) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<RgbImage>>> {
        while self.is_running() {
            self.step()?;
            if on_step(&mut self).is_break() {
                self.token.cancel();
            }
        }
        self.finish()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let (done, total) = (self.steps_taken(), self.batches() * self.steps());
        let pace = self.since.filter(|(_, then)| done > *then).map(|(at, then)| (now() - at) / (done - then) as u32);
        let status = match (self.is_over(), self.token.is_cancelled()) {
            (true, _) => Status::Done,
            (false, true) => Status::Cancelled,
            (false, false) => Status::Running,
        };
        let left = pace.map(|step| step * u32::try_from(total - done).unwrap_or(u32::MAX));
        Progress { done, total, left, slice: self.slice, status }
    }

    /// How many images there are to be.
    pub fn samples(&self) -> usize {
        self.total
    }

    /// What cancels it.
    pub fn token(&self) -> CancelToken {
        self.token.clone()
    }

    /// What it holds on its device, with the weights, which other jobs share: what
    /// [`Rcdm::estimate`](crate::pipeline::Rcdm::estimate) said. [`Job::show`] takes as much again as one image.
    pub fn memory(&self) -> Memory {
        self.loaded.executor.memory()
    }

    /// The images that are whole by now, in the order of what they are sampled from.
    pub fn images(&self) -> &[RgbImage] {
        &self.images
    }

    /// All that is needed to go on from the last whole step, on any device or in another process: see
    /// [`Rcdm::resume`](crate::pipeline::Rcdm::resume). A .safetensors file. Waits.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn state(&mut self) -> Result<Vec<u8>> {
        self.settle()?;
        let x = match self.taken == self.starting.passed || self.is_over() {
            true => None,
            false => Some(self.loaded.executor.read("x")?),
        };
        self.encode(x)
    }

    /// Keeps the state after every so many steps, so that [`Job::kept`] has the last one if the device is lost. Costs the
    /// copy of x_t to the host at those steps. Reads the whole model file, once, for the hash that a state has of it.
    pub fn keep_states(&mut self, every: usize) {
        self.decoder.sha256();
        self.keep_every = Some(every.max(1));
    }

    /// The last state that was kept; also after an error.
    pub fn kept(&self) -> Option<&[u8]> {
        self.kept.as_deref()
    }

    fn encode(&self, x: Option<Vec<f32>>) -> Result<Vec<u8>> {
        let step = if x.is_some() { self.taken } else { 0 };
        let state = State {
            options: SampleOptions { batch: Some(self.batch), ..self.options.clone() },
            model: self.decoder.sha256().into(),
            conditions: self.conditions.clone(),
            images: self.images.clone(),
            step,
            x,
        };
        state.to_bytes(&self.decoder.config)
    }

    fn batches(&self) -> usize {
        self.total.div_ceil(self.batch)
    }

    fn steps_taken(&self) -> usize {
        self.index * self.steps() + self.taken - self.starting.passed
    }

    /// Steps of a batch.
    fn steps(&self) -> usize {
        self.loaded.sampling.steps() - self.starting.passed
    }

    fn is_over(&self) -> bool {
        self.index == self.batches()
    }

    fn is_running(&self) -> bool {
        !self.is_over() && !self.token.is_cancelled()
    }

    /// Writes what the batch is sampled from, to begin with its first step, or to go on with a later one from an x_t.
    fn begin_batch(&mut self, from: Option<(usize, Vec<f32>)>) -> Result<()> {
        let (step, x) = from.map_or((self.starting.passed, None), |(step, x)| (step, Some(x)));
        (self.taken, self.step, self.next) = (step, step, 0);
        if self.is_over() {
            return Ok(());
        }
        let first = self.index * self.batch;
        // Batches of one size, so that no two programs are needed: the last one may sample too many.
        let samples = (first..first + self.batch).map(|place| place.min(self.total - 1));
        let of_sample = |place: usize| &self.conditions[place / self.options.samples];
        let conditions: Vec<f32> = samples.clone().flat_map(|place| of_sample(place).iter().copied()).collect();
        let numbered = samples.map(|place| (place, self.options.first_sample + place as u32));
        let seed = self.decoder.noise_seed(self.options.seed);
        self.resume = x.or_else(|| self.starting.x(seed, numbered));
        let labels = self.options.class.map_or(Vec::new(), |class| vec![class; self.batch]);
        let (feat, low_res): (&[f32], &[f32]) =
            if self.decoder.config.small_size > 0 { (&[], &conditions) } else { (&conditions, &[]) };
        let inputs = Batch {
            feat,
            low_res,
            labels: &labels,
            seed,
            first_sample: self.options.first_sample + first as u32,
            ..Batch::default()
        };
        self.loaded.sampling.write_inputs(self.loaded.executor.as_mut(), &inputs, step)
    }
}
