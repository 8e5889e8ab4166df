//! A sampling run that advances in slices, so that an application stays responsive, or that runs to its end at once.

mod begin;
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

use super::decoder::{Decoder, Loaded};
use super::options::SampleOptions;
use super::start::Starting;
use super::state::{State, foreign};
use crate::Result;
use crate::diffusion::Batch;
use crate::program::Memory;

/// The time of the slices that a waiting call hands to the device. It is long enough that the overhead per slice is
/// negligible, and far below the 2 s after which Windows resets a GPU.
const WAITING_SLICE: Duration = Duration::from_millis(400);

/// A sampling run in progress, created by [`Rcdm::start`](crate::sampling::Rcdm::start) or
/// [`Upsampler::start`](crate::sampling::Upsampler::start).
///
/// [`Job::advance`] runs as many ops as fit a time budget, without waiting for the device. [`Job::step`] and
/// [`Job::finish`] wait. A job can be moved to another thread. Dropping it stops the run.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use percept::{Device, Rcdm, SampleOptions, Status};
///
/// # fn main() -> percept::Result<()> {
/// let rcdm = Rcdm::open("decoder.safetensors", &Device::named("auto")?)?;
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
    /// The representations, or the small images.
    conditions: Vec<Vec<f32>>,
    options: SampleOptions,
    starting: Starting,
    /// The total number of images, and the number in a batch.
    total: usize,
    batch: usize,
    /// The current batch, and the number of its steps that have been taken and checked.
    index: usize,
    taken: usize,
    /// The next op to hand to the device, and the step that it belongs to.
    next: usize,
    step: usize,
    /// The slices that are under way on the device, oldest first.
    under_way: VecDeque<Range<usize>>,
    check: Check,
    /// x_t of the first step that this batch runs, unless the program draws it.
    resume: Option<Vec<f32>>,
    /// The images of the complete batches, in order.
    images: Vec<RgbImage>,
    keep_every: Option<usize>,
    kept: Option<Vec<u8>>,
    token: CancelToken,
    /// The time at which this job had taken its first step, and the number of steps taken by then.
    since: Option<(Instant, usize)>,
    /// See [`Progress::slice`].
    slice: Option<Duration>,
    /// The batch whose x_0 is on the device.
    in_view: Option<usize>,
}

/// The results of a step that are read before the next step may end.
#[derive(Default)]
struct Check {
    /// True if a step was handed over and has not been checked.
    is_open: bool,
    /// The number of slices of this step and earlier ones that have not ended.
    behind: usize,
    /// True if the last slice was recorded into an encoder of the host. Reading then begins only after the slice has
    /// ended, because it is unknown when the host submits it.
    is_recorded: bool,
    /// True if x was found to be finite.
    is_finite: bool,
    /// x after the step, if it is needed and has been read.
    x: Option<Vec<f32>>,
}

impl Job {
    /// Creates a job for `total` images in batches of the loaded program's size.
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

    /// Continues from a state: restores its images and begins with its step.
    ///
    /// # Errors
    /// Returns an error if the run has no such step.
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

    /// Runs as many ops as fit into `budget`. On a GPU, hands them over without waiting, and counts the ops that are
    /// still under way towards the budget. On the CPU, runs them before returning. If nothing is under way, runs at
    /// least one op, however long it takes.
    ///
    /// # Errors
    /// Returns an error if the device fails or a result is not finite.
    pub fn advance(&mut self, budget: Duration) -> Result<Progress> {
        let began = now();
        let mut handed_over = false;
        self.slice = None;
        self.collect()?;
        while self.is_running() {
            // On the host, the ops have already run, and the clock tells how much of the budget they used.
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

    /// Advances the job like [`Job::advance`], but records the ops, at most the rest of a step, into an encoder of the
    /// host application. The host must submit the encoder before it calls the job again, and can record its own work
    /// into it, too. The job still makes a small submission of its own to read whether a step is finite.
    ///
    /// # Errors
    /// Same as [`Job::advance`]. Also returns [`Error::Config`](crate::Error::Config) if the job does not run on a GPU.
    /// If the encoder was never submitted, a later call returns [`Error::DeviceLost`](crate::Error::DeviceLost), and
    /// the run can only be resumed from a state.
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

    /// Runs the rest of the current step, and waits until it has ended.
    ///
    /// # Errors
    /// Same as [`Job::advance`].
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

    /// Runs the job to its end, waits for it, and returns the images of each representation or small image. If the run
    /// was cancelled, returns only the images that are complete.
    ///
    /// # Errors
    /// Same as [`Job::advance`].
    pub fn finish(mut self) -> Result<Vec<Vec<RgbImage>>> {
        while self.step()?.status == Status::Running {}
        let mut rows: Vec<Vec<RgbImage>> = self.conditions.iter().map(|_| Vec::new()).collect();
        for (place, image) in std::mem::take(&mut self.images).into_iter().enumerate() {
            rows[place / self.options.samples].push(image);
        }
        if self.is_over() {
            // All ops have run, but the device may not have reported all their times yet. Collects them before the
            // next job gets the program.
            while !self.under_way.is_empty() {
                self.loaded.executor.wait()?;
                self.collect()?;
            }
            self.decoder.put_back(self.loaded);
        }
        Ok(rows)
    }

    /// Runs the job to its end like [`Job::finish`], and calls `on_step` after each step.
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

    /// Returns the job's progress.
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

    /// Returns the total number of images that the job samples.
    pub fn samples(&self) -> usize {
        self.total
    }

    /// Returns a token that cancels the job.
    pub fn token(&self) -> CancelToken {
        self.token.clone()
    }

    /// Returns the device memory that the job holds, including the weights, which all jobs share. It equals the result
    /// of [`Rcdm::estimate`](crate::sampling::Rcdm::estimate). [`Job::show`] needs additional memory for one image.
    pub fn memory(&self) -> Memory {
        self.loaded.executor.memory()
    }

    /// Returns the images that are complete, in the order of the representations or small images.
    pub fn images(&self) -> &[RgbImage] {
        &self.images
    }

    /// Returns the state of the job after the last complete step, as the bytes of a .safetensors file.
    /// [`Rcdm::resume`](crate::sampling::Rcdm::resume) continues from it, on any device and in any process. Waits for
    /// the steps that are under way.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub fn state(&mut self) -> Result<Vec<u8>> {
        self.settle()?;
        let x = match self.taken == self.starting.passed || self.is_over() {
            true => None,
            false => Some(self.loaded.executor.read("x")?),
        };
        self.encode(x)
    }

    /// Keeps the state once every `every` steps, so that [`Job::kept`] returns the last one if the device is lost. At
    /// each of these steps, x_t is copied to the host. The first call reads the whole model file to compute the hash
    /// that a state contains.
    pub fn keep_states(&mut self, every: usize) {
        self.decoder.sha256();
        self.keep_every = Some(every.max(1));
    }

    /// Returns the last state that was kept, even after an error.
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

    /// Returns the number of steps of a batch.
    fn steps(&self) -> usize {
        self.loaded.sampling.steps() - self.starting.passed
    }

    fn is_over(&self) -> bool {
        self.index == self.batches()
    }

    fn is_running(&self) -> bool {
        !self.is_over() && !self.token.is_cancelled()
    }

    /// Begins a batch and writes its inputs. Starts at the given step with the given x_t, or at the first step if
    /// `from` is `None`.
    fn begin_batch(&mut self, from: Option<(usize, Vec<f32>)>) -> Result<()> {
        let (step, x) = from.map_or((self.starting.passed, None), |(step, x)| (step, Some(x)));
        (self.taken, self.step, self.next) = (step, step, 0);
        if self.is_over() {
            return Ok(());
        }
        let first = self.index * self.batch;
        // All batches have the same size, so that one program suffices. The last batch may sample more images than
        // needed.
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
