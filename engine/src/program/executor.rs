//! What every executor does: the reference one, the CPU's and a GPU's.

use alloc::vec::Vec;
use core::any::Any;
use core::ops::Range;
use core::time::Duration;

use super::{Memory, Program};
use crate::Result;
use crate::weights::WeightRounding;

/// What became of ops that were to run without waiting for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// They have run: what runs them is the host.
    Done,
    /// They are under way.
    UnderWay,
    /// Nothing was done, for as much is under way as may be.
    Full,
}

/// How long some ops took, which [`Executor::try_run`] began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Took {
    /// Which.
    pub ops: Range<usize>,
    /// Not less than this.
    pub at_least: Duration,
    /// Not more than this; the same where the device has a clock.
    pub at_most: Duration,
}

/// A program loaded onto a device, with its weights.
pub trait Executor: Any + Send {
    /// The program.
    fn program(&self) -> &Program;

    /// What it holds, in bytes.
    fn memory(&self) -> Memory;

    /// What storing its weights in half precision did to them, where they are.
    fn weight_rounding(&self) -> &WeightRounding;

    /// Writes an input of `f32`, rounded where the program stores it in half precision.
    ///
    /// # Errors
    /// Where there is no such input, or its shape has another number of elements.
    fn write(&mut self, input: &str, data: &[f32]) -> Result<()>;

    /// Writes an input of `u32`.
    ///
    /// # Errors
    /// As [`Executor::write`].
    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()>;

    /// Runs some of the program's ops, in order: a part of the prologue, or a part of the body. After
    /// the last op of either, what is [carried](Program::carries) becomes the input of the next step.
    ///
    /// # Errors
    /// Where the device fails.
    fn run(&mut self, ops: Range<usize>) -> Result<()>;

    /// Runs ops as [`Executor::run`] does, but never waits for the device.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn try_run(&mut self, ops: Range<usize>) -> Result<Begun> {
        self.run(ops).map(|()| Begun::Done)
    }

    /// The next of what [`Executor::try_run`] left under way that has ended since; does not wait.
    ///
    /// # Errors
    /// Where the device fails.
    fn ended(&mut self) -> Result<Option<Took>> {
        Ok(None)
    }

    /// Waits until the oldest of what is under way has ended, or something is read that was being read.
    ///
    /// # Errors
    /// Where the device fails.
    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    /// Waits until all that was run is done. On the host it is when [`Executor::run`] returns.
    ///
    /// # Errors
    /// Where the device fails.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Runs ops as [`Executor::run`] does, and gives the nanoseconds that each took on the device's own clock.
    /// Where the device has none it gives none, and has run nothing.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn time_ops(&mut self, ops: Range<usize>) -> Result<Option<Vec<u64>>> {
        let _ = ops;
        Ok(None)
    }

    /// Calls of kernels that the ops come to: one for each on the host; on a GPU one or several dispatches.
    fn dispatches(&self, ops: Range<usize>) -> usize {
        ops.len()
    }

    /// Reads an output of `f32`.
    ///
    /// # Errors
    /// Where there is no such output, it is of another type, or it has not been computed.
    fn read(&mut self, output: &str) -> Result<Vec<f32>>;

    /// Reads an output of `u32`.
    ///
    /// # Errors
    /// As [`Executor::read`].
    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>>;

    /// Reads an output without waiting for the device: the first call begins to read it as it is after all that was
    /// run so far, and it is one of the later ones that gives it.
    ///
    /// # Errors
    /// As [`Executor::read`].
    fn try_read(&mut self, output: &str) -> Result<Option<Vec<f32>>> {
        self.read(output).map(Some)
    }

    /// As [`Executor::try_read`], an output of `u32`.
    ///
    /// # Errors
    /// As [`Executor::read`].
    fn try_read_u32(&mut self, output: &str) -> Result<Option<Vec<u32>>> {
        self.read_u32(output).map(Some)
    }

    /// Runs the ops of the last [`Executor::run`] again one by one and finds the first whose result
    /// holds NaN or an infinity: its layer and kernel.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn find_non_finite(&mut self, ops: Range<usize>) -> Result<Option<alloc::string::String>>;
}
