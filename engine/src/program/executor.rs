//! What every executor does: the reference one, the CPU's and a GPU's.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Memory, Program};
use crate::Result;

/// A program loaded onto a device, with its weights.
pub trait Executor: Send {
    /// The program.
    fn program(&self) -> &Program;

    /// What it holds, in bytes.
    fn memory(&self) -> Memory;

    /// Writes an input of `f32`.
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

    /// Runs the ops of the last [`Executor::run`] again one by one and finds the first whose result
    /// holds NaN or an infinity: its layer and kernel.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn find_non_finite(&mut self, ops: Range<usize>) -> Result<Option<alloc::string::String>>;
}
