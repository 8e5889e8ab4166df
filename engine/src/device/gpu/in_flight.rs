//! Submissions that are running on the device, and the time that they take.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::context::Gpu;
use super::readback::End;
use crate::Result;
use crate::device::Timing;

/// The maximum number of running submissions: one runs while the next is recorded.
const MOST: usize = 2;
/// The size of the two timestamps of a submission, in bytes.
const STAMPS: u64 = 16;
/// The alignment of the offsets to which timestamps can be resolved, in bytes.
const RESOLVE_ALIGNMENT: u64 = wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT;

/// The running submissions, oldest first.
pub(super) struct InFlight {
    submits: VecDeque<Submit>,
    clock: Option<Clock>,
    /// The time at which a submission was last seen to have ended.
    last_end: Instant,
}

struct Submit {
    /// The index of the submission, or `None` if the host application submits it.
    index: Option<wgpu::SubmissionIndex>,
    end: End,
    timed: Option<Timed>,
}

/// A submission that is timed.
struct Timed {
    ops: Range<usize>,
    /// The time at which it was recorded.
    at: Instant,
    /// The time at which it was last seen running.
    seen_running: Instant,
    /// Its pair of timestamps, or `None` if the device has no clock or no pair was free.
    stamps: Option<usize>,
}

/// The device's own clock: two timestamps for each running submission.
struct Clock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// For each pair, the buffer that it is read back through, and whether the pair is free.
    staging: Vec<(wgpu::Buffer, bool)>,
    nanoseconds: f64,
}

impl InFlight {
    /// Creates the list for a device's queue.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(InFlight { submits: VecDeque::new(), clock: Clock::new(gpu)?, last_end: Instant::now() })
    }

    /// Returns true if the maximum number of submissions is running. Polls the device first.
    pub fn is_full(&mut self, gpu: &Gpu) -> Result<bool> {
        gpu.poll()?;
        self.look();
        Ok(self.running() >= MOST)
    }

    /// Reserves a pair of timestamps for the next timed submission, if the device has a clock and a pair is free.
    pub fn stamps(&mut self) -> Option<usize> {
        self.clock.as_mut().and_then(Clock::take)
    }

    /// Returns the descriptor with which a pass writes its timestamps.
    pub fn writes(&self, stamps: Option<usize>) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        self.clock.as_ref().zip(stamps).map(|(clock, pair)| clock.writes(pair))
    }

    /// Records, after the ops to be timed, the commands that report when the ops have ended.
    pub fn track(&mut self, encoder: &mut wgpu::CommandEncoder, ops: Range<usize>, stamps: Option<usize>) {
        let at = Instant::now();
        let end = End::default();
        let teller = end.teller();
        match self.clock.as_ref().zip(stamps) {
            Some((clock, pair)) => {
                clock.resolve(encoder, pair);
                let staging = &clock.staging[pair].0;
                encoder
                    .map_buffer_on_submit(staging, wgpu::MapMode::Read, .., move |mapped| teller.tell(mapped.is_ok()));
            }
            None => encoder.on_submitted_work_done(move || teller.tell(true)),
        }
        let timed = Some(Timed { ops, at, seen_running: at, stamps });
        self.submits.push_back(Submit { index: None, end, timed });
    }

    /// Submits the commands that were last [tracked](InFlight::track).
    pub fn submit_tracked(&mut self, gpu: &Gpu, encoder: wgpu::CommandEncoder) {
        let index = gpu.queue().submit([encoder.finish()]);
        if let Some(submit) = self.submits.back_mut() {
            submit.index = Some(index);
        }
    }

    /// Submits commands that are not timed. Waits if too many submissions are running.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] if the device is lost.
    pub fn submit(&mut self, gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<()> {
        let index = gpu.queue().submit([encoder.finish()]);
        let end = End::default();
        let teller = end.teller();
        gpu.queue().on_submitted_work_done(move || teller.tell(true));
        self.submits.push_back(Submit { index: Some(index), end, timed: None });
        while self.running() > MOST {
            self.wait(gpu)?;
        }
        self.submits.retain(|submit| submit.timed.is_some() || !submit.end.is_known());
        Ok(())
    }

    fn running(&self) -> usize {
        self.submits.iter().filter(|submit| !submit.end.is_known()).count()
    }

    /// Notes the current time for each timed submission that is still running.
    fn look(&mut self) {
        let now = Instant::now();
        let running = self.submits.iter_mut().filter(|submit| !submit.end.is_known());
        running.filter_map(|submit| submit.timed.as_mut()).for_each(|timed| timed.seen_running = now);
    }

    /// Waits for the oldest submission that has not ended. If there is none, waits for all other work on the device.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] if the device is lost.
    pub fn wait(&mut self, gpu: &Gpu) -> Result<()> {
        let Some(submit) = self.submits.iter().find(|submit| !submit.end.is_known()) else {
            return gpu.wait(None);
        };
        gpu.wait(submit.index.clone())?;
        if !submit.end.is_known() {
            // Either a host application's device was lost, of which percept is not notified, or the application has
            // not submitted the recorded commands.
            submit.end.teller().tell(false);
        }
        Ok(())
    }

    /// Returns the time of the oldest submission if it is timed and has ended. Does not wait.
    ///
    /// # Errors
    /// Returns [`Error::DeviceLost`] if the device is lost.
    pub fn ended(&mut self, gpu: &Gpu) -> Result<Option<Timing>> {
        gpu.poll()?;
        let now = Instant::now();
        self.submits.retain(|submit| submit.timed.is_some() || !submit.end.is_known());
        let Some(Submit { index, end, timed }) = self.submits.front() else { return Ok(None) };
        let failed = || match index {
            Some(_) => gpu.lose("work that never ended"),
            None => gpu.unanswered("work that never ended, or was recorded and never submitted"),
        };
        if !end.check(failed)? {
            self.look();
            return Ok(None);
        }
        let took = match timed {
            Some(timed) => {
                // Without a clock, it started when it was recorded or when its predecessor was seen to have ended,
                // whichever is later.
                let began = timed.at.max(self.last_end);
                let (mut at_least, mut at_most) = (timed.seen_running.saturating_duration_since(began), now - began);
                if let (Some(clock), Some(pair)) = (&mut self.clock, timed.stamps) {
                    let took = clock.read(pair).map_err(|error| gpu.lose(error))?;
                    (at_least, at_most) = (took, took);
                }
                self.last_end = now;
                Some(Timing { ops: timed.ops.clone(), at_least, at_most })
            }
            None => None,
        };
        // Remove it only after its time was read: if reading fails, the next call must fail as well.
        self.submits.pop_front();
        Ok(took)
    }
}

impl Clock {
    /// Returns `None` if the device has no clock.
    fn new(gpu: &Gpu) -> Result<Option<Self>> {
        if !gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let device = gpu.device();
        gpu.scoped("timestamps", || {
            // One more pair than running submissions, for a submission that has ended but whose time has not been
            // read.
            let pairs = MOST as u64 + 1;
            let buffer = |size, usage| {
                let label = Some("timestamps");
                device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
            };
            let staging = || (buffer(STAMPS, wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ), true);
            Ok(Some(Clock {
                set: device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("timestamps"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * pairs as u32,
                }),
                resolved: buffer(
                    pairs * RESOLVE_ALIGNMENT,
                    wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                ),
                staging: (0..pairs).map(|_| staging()).collect(),
                nanoseconds: f64::from(gpu.queue().get_timestamp_period()),
            }))
        })
    }

    /// Reserves a free pair of timestamps.
    fn take(&mut self) -> Option<usize> {
        let pair = self.staging.iter().position(|(_, is_free)| *is_free)?;
        self.staging[pair].1 = false;
        Some(pair)
    }

    fn writes(&self, pair: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(2 * pair as u32),
            end_of_pass_write_index: Some(2 * pair as u32 + 1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder, pair: usize) {
        let (first, offset) = (2 * pair as u32, pair as u64 * RESOLVE_ALIGNMENT);
        encoder.resolve_query_set(&self.set, first..first + 2, &self.resolved, offset);
        encoder.copy_buffer_to_buffer(&self.resolved, offset, &self.staging[pair].0, 0, STAMPS);
    }

    /// Returns the time between a pair of timestamps that was read back, and frees the pair.
    fn read(&mut self, pair: usize) -> std::result::Result<Duration, wgpu::MapRangeError> {
        let (staging, is_free) = &mut self.staging[pair];
        let view = staging.get_mapped_range(..)?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        staging.unmap();
        *is_free = true;
        Ok(Duration::from_nanos((stamps[1].saturating_sub(stamps[0]) as f64 * self.nanoseconds) as u64))
    }
}
