//! Slices of a run: which ops are handed over next, and what is learned when they have ended.

use std::ops::Range;
use std::time::Duration;

use super::clock::now;
use super::{Check, Job};
use crate::Result;
use crate::pipeline::pace::measured;
use crate::program::{Begun, Took};

impl Job {
    /// The ops that may be handed over now: up to the end of the prologue, or of the step. What a step writes that
    /// outlives it only once the step before was checked, whose x_t it would overwrite.
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

    /// As many of the ops that are ready as fit so many seconds.
    pub(super) fn slice_of(&self, ready: Range<usize>, seconds: f64) -> Range<usize> {
        let slice = self.loaded.pace.fitting(ready.clone(), seconds);
        // The few ops behind the network are not worth a slice of their own, and what they write belongs together.
        let is_cut_there = slice.end > self.loaded.executor.program().tail();
        slice.start..if is_cut_there { ready.end } else { slice.end }
    }

    /// A slice that fits a budget beside what is under way; the first one of a call, where nothing is, in any case.
    pub(super) fn fitting(&self, budget: Duration, is_first: bool) -> Option<Range<usize>> {
        let waiting: f64 = self.under_way.iter().map(|ops| self.loaded.pace.estimate(ops.clone())).sum();
        let left = budget.as_secs_f64() - waiting;
        let slice = self.slice_of(self.ready()?, left);
        let fits = self.loaded.pace.estimate(slice.clone()) <= left;
        (fits || (is_first && self.under_way.is_empty())).then_some(slice)
    }

    /// Hands a slice of the ops that are ready to the device; false where it has enough.
    pub(super) fn hand_over(&mut self, ops: Range<usize>) -> Result<bool> {
        self.restore(&ops)?;
        let began = now();
        let begun = self.loaded.executor.try_run(ops.clone())?;
        Ok(self.handed_over(begun, ops, now() - began))
    }

    /// Before the first op of the step that the batch begins with, where x_t is given: puts x_t in place of the noise that the
    /// prologue has drawn.
    pub(super) fn restore(&mut self, ops: &Range<usize>) -> Result<()> {
        if ops.start == self.loaded.executor.program().body().start
            && let Some(x) = self.resume.take()
        {
            self.loaded.executor.write("x", &x)?;
        }
        Ok(())
    }

    /// Notes what became of ops, for which the host took so long; false where the device did not take them.
    pub(super) fn handed_over(&mut self, begun: Begun, ops: Range<usize>, took: Duration) -> bool {
        match begun {
            Begun::Full => return false,
            Begun::UnderWay => self.under_way.push_back(ops.clone()),
            Begun::Done => self.learn(&measured(ops.clone(), took)),
        }
        self.next = ops.end;
        let program = self.loaded.executor.program();
        if ops.end > program.tail() {
            // It is overwritten: by the next prediction for the same batch, or for another.
            self.in_view = self.in_view.filter(|index| *index == self.index);
        }
        if ops.end == program.body().end {
            self.next = program.body().start;
            self.step += 1;
            self.check = Check { is_open: true, behind: self.under_way.len(), ..Check::default() };
        }
        true
    }

    /// Learns what has ended meanwhile; does not wait.
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

    pub(super) fn learn(&mut self, took: &Took) {
        self.slice = self.slice.max(Some(took.at_most));
        self.loaded.pace.learn(took);
    }

    /// Goes on reading what is read of a step; whether all of it is there.
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

    /// A step was taken and is right.
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
            // Last, for the device may fail here: then what is kept is as far as the progress.
            self.begin_batch(None)?;
        } else if let Some(x) = check.x {
            self.kept = Some(self.encode(Some(x))?);
        }
        self.since.get_or_insert((now(), self.steps_taken()));
        Ok(())
    }

    /// Waits until every step that was handed over has been taken and checked.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.collect()?;
        while self.check.is_open {
            self.loaded.executor.wait()?;
            self.collect()?;
        }
        Ok(())
    }
}
