//! The trait that the reference, CPU and GPU executors implement.

use alloc::vec::Vec;
use core::any::Any;
use core::ops::Range;
use core::time::Duration;

use crate::Result;
use crate::program::{Memory, Program};
use crate::weights::WeightRounding;

/// The outcome of [`Executor::try_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRun {
    /// The ops have run. Executors on the host return this.
    Done,
    /// The ops have been submitted and are running.
    Pending,
    /// Nothing was submitted, because the maximum number of submissions is already running.
    Full,
}

/// The time that the ops of one [`Executor::try_run`] took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The ops.
    pub ops: Range<usize>,
    /// A lower bound.
    pub at_least: Duration,
    /// An upper bound, equal to `at_least` if the device has a clock.
    pub at_most: Duration,
}

/// A program loaded onto a device, with its weights.
pub trait Executor: Any + Send {
    /// Returns the program.
    fn program(&self) -> &Program;

    /// Returns the memory that the executor holds, in bytes.
    fn memory(&self) -> Memory;

    /// Returns the rounding errors of the weights that are stored in half precision.
    fn weight_rounding(&self) -> &WeightRounding;

    /// Writes an `f32` input, rounded if the program stores it in half precision.
    ///
    /// # Errors
    /// If the program has no such input, or `data` does not have as many elements as its shape.
    fn write(&mut self, input: &str, data: &[f32]) -> Result<()>;

    /// Writes a `u32` input.
    ///
    /// # Errors
    /// See [`Executor::write`].
    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()>;

    /// Runs some of the program's ops, in order: a part of the prologue or a part of the body. After the last op of
    /// the prologue or the body, the [carried](Program::carries) values become the inputs of the next step.
    ///
    /// # Errors
    /// If the device fails.
    fn run(&mut self, ops: Range<usize>) -> Result<()>;

    /// Runs ops as [`Executor::run`] does, but never waits for the device.
    ///
    /// # Errors
    /// See [`Executor::run`].
    fn try_run(&mut self, ops: Range<usize>) -> Result<TryRun> {
        self.run(ops).map(|()| TryRun::Done)
    }

    /// Returns the time of the oldest ops started by [`Executor::try_run`] once they have ended, or `None` if they
    /// are still running. Does not wait.
    ///
    /// # Errors
    /// If the device fails.
    fn ended(&mut self) -> Result<Option<Timing>> {
        Ok(None)
    }

    /// Waits until the oldest running ops have ended or, if no ops are running, until pending reads are complete.
    ///
    /// # Errors
    /// If the device fails.
    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    /// Waits until everything that was submitted is done. On the host, [`Executor::run`] returns only when it is.
    ///
    /// # Errors
    /// If the device fails.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Runs ops as [`Executor::run`] does, and returns the nanoseconds that each took by the device's own clock.
    /// Returns `None`, without running anything, if the device has no clock.
    ///
    /// # Errors
    /// See [`Executor::run`].
    fn time_ops(&mut self, ops: Range<usize>) -> Result<Option<Vec<u64>>> {
        let _ = ops;
        Ok(None)
    }

    /// Returns the number of kernel calls that the ops amount to: one per op on the host, one or more dispatches on a
    /// GPU.
    fn dispatches(&self, ops: Range<usize>) -> usize {
        ops.len()
    }

    /// Reads an `f32` output.
    ///
    /// # Errors
    /// If the program has no such output, or the output has another type.
    fn read(&mut self, output: &str) -> Result<Vec<f32>>;

    /// Reads a `u32` output.
    ///
    /// # Errors
    /// See [`Executor::read`].
    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>>;

    /// Reads an output without waiting for the device. The first call starts to read the output as it is after
    /// everything that was run before; one of the later calls returns it.
    ///
    /// # Errors
    /// See [`Executor::read`].
    fn try_read(&mut self, output: &str) -> Result<Option<Vec<f32>>> {
        self.read(output).map(Some)
    }

    /// Reads a `u32` output as [`Executor::try_read`] does.
    ///
    /// # Errors
    /// See [`Executor::read`].
    fn try_read_u32(&mut self, output: &str) -> Result<Option<Vec<u32>>> {
        self.read_u32(output).map(Some)
    }

    /// Runs the ops of the last [`Executor::run`] again, one by one, and returns the layer and the kernel of the
    /// first op whose result contains NaN or an infinity.
    ///
    /// # Errors
    /// See [`Executor::run`].
    fn find_non_finite(&mut self, ops: Range<usize>) -> Result<Option<alloc::string::String>>;
}
