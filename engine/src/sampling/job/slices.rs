//! Slices of a run: chooses the ops to hand over next, and evaluates them when they have ended.

use std::ops::Range;
use std::time::Duration;

use super::clock::now;
use super::{Check, Job};
use crate::Result;
use crate::device::{Timing, TryRun};
use crate::sampling::pace::measured;

impl Job {
    /// Returns the ops that may be handed over now: up to the end of the prologue or of the step. The tail of a step,
    /// which overwrites the previous step's x_t, is included only after the previous step has been checked.
    pub(super) fn ready(&self) -> Option<Range<usize>> {
        let program = self.loaded.executor.program();
        let (prologue, body) = (program.prologue(), program.body());
        let end = match () {
            _ if self.step == self.loaded.sampling.steps() => return None,
            _ if self.next < prologue.end => prologue.end,
            _ if self.check.is_open => program.tail(),
            _ => body.end,
        };
        (self.next < end).then_some(self.next..end)
    }

    /// Returns as many of the `ready` ops as fit into `seconds`.
    pub(super) fn slice_of(&self, ready: Range<usize>, seconds: f64) -> Range<usize> {
        let slice = self.loaded.pace.fitting(ready.clone(), seconds);
        // The tail is never split: its few ops are not worth a slice of their own, and their results belong together.
        let is_cut_there = slice.end > self.loaded.executor.program().tail();
        slice.start..if is_cut_there { ready.end } else { slice.end }
    }

    /// Returns a slice that fits into the part of the budget that the slices under way leave, or `None` if there is
    /// none. If nothing is under way, returns the first slice of a call even if it does not fit.
    pub(super) fn fitting(&self, budget: Duration, is_first: bool) -> Option<Range<usize>> {
        let waiting: f64 = self.under_way.iter().map(|ops| self.loaded.pace.estimate(ops.clone())).sum();
        let left = budget.as_secs_f64() - waiting;
        let slice = self.slice_of(self.ready()?, left);
        let fits = self.loaded.pace.estimate(slice.clone()) <= left;
        (fits || (is_first && self.under_way.is_empty())).then_some(slice)
    }

    /// Hands a slice to the device. Returns false if the device accepts no more.
    pub(super) fn hand_over(&mut self, ops: Range<usize>) -> Result<bool> {
        self.restore(&ops)?;
        let began = now();
        let begun = self.loaded.executor.try_run(ops.clone())?;
        Ok(self.handed_over(begun, ops, now() - began))
    }

    /// Before the first step of a batch, replaces the noise that the prologue has drawn with the given x_t, if there is
    /// one.
    pub(super) fn restore(&mut self, ops: &Range<usize>) -> Result<()> {
        if ops.start == self.loaded.executor.program().body().start
            && let Some(x) = self.resume.take()
        {
            self.loaded.executor.write("x", &x)?;
        }
        Ok(())
    }

    /// Records the outcome of handing over `ops`, which took the host the time `took`. Returns false if the device did
    /// not accept them.
    pub(super) fn handed_over(&mut self, begun: TryRun, ops: Range<usize>, took: Duration) -> bool {
        match begun {
            TryRun::Full => return false,
            TryRun::Pending => self.under_way.push_back(ops.clone()),
            TryRun::Done => self.learn(&measured(ops.clone(), took)),
        }
        self.next = ops.end;
        let program = self.loaded.executor.program();
        if ops.end > program.tail() {
            // The tail overwrites x_0. If it was of another batch, that batch is no longer in view.
            self.in_view = self.in_view.filter(|index| *index == self.index);
        }
        if ops.end == program.body().end {
            self.next = program.body().start;
            self.step += 1;
            self.check = Check { is_open: true, behind: self.under_way.len(), ..Check::default() };
        }
        true
    }

    /// Evaluates the slices that have ended since the last call, without waiting.
    pub(super) fn collect(&mut self) -> Result<()> {
        while let Some(took) = self.loaded.executor.ended()? {
            self.under_way.pop_front();
            self.check.behind = self.check.behind.saturating_sub(1);
            self.learn(&took);
        }
        let can_be_read = self.check.is_open && (self.check.behind == 0 || !self.check.is_recorded);
        if can_be_read && self.read_check()? && self.check.behind == 0 {
            self.step_taken()?;
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, took: &Timing) {
        self.slice = self.slice.max(Some(took.at_most));
        self.loaded.pace.learn(took);
    }

    /// Continues to read the results of a step that are needed, without waiting. Returns true if all of them have been
    /// read.
    pub(super) fn read_check(&mut self) -> Result<bool> {
        let (steps, executor) = (self.loaded.sampling.steps(), self.loaded.executor.as_mut());
        let is_last = self.taken + 1 == steps;
        let is_kept = self.keep_every.is_some_and(|every| (self.taken + 1).is_multiple_of(every));
        if !self.check.is_finite
            && let Some(words) = executor.try_read_u32("not_finite")?
        {
            if words.iter().any(|&found| found != 0) {
                return Err(self.loaded.sampling.not_finite(executor, self.taken)?);
            }
            self.check.is_finite = true;
        }
        let is_wanted = is_last || is_kept;
        if is_wanted && self.check.x.is_none() {
            self.check.x = executor.try_read("x")?;
        }
        Ok(self.check.is_finite && (self.check.x.is_some() || !is_wanted))
    }

    /// Counts a step that has ended and was checked, and begins the next batch if it was the last step of this one.
    pub(super) fn step_taken(&mut self) -> Result<()> {
        let check = std::mem::take(&mut self.check);
        self.in_view = Some(self.index);
        self.taken += 1;
        if self.taken == self.loaded.sampling.steps() {
            let x = check.x.unwrap_or_default();
            let first = self.index * self.batch;
            let images = self.to_images(&x)?;
            self.images.extend(images.into_iter().take(self.total - first));
            if self.keep_every.is_some() {
                self.kept = Some(self.encode(None)?);
            }
            self.index += 1;
            // Comes last, because the device may fail here. The kept state then still agrees with the progress.
            self.begin_batch(None)?;
        } else if let Some(x) = check.x {
            self.kept = Some(self.encode(Some(x))?);
        }
        self.since.get_or_insert((now(), self.steps_taken()));
        Ok(())
    }

    /// Waits until every step that was handed over completely has ended and been checked.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.collect()?;
        while self.check.is_open {
            self.loaded.executor.wait()?;
            self.collect()?;
        }
        Ok(())
    }
}
