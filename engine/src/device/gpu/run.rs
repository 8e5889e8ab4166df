//! Running a program on a GPU: recording and submitting dispatches, without making anything.

use std::ops::Range;

use super::executor::{GpuExecutor, Recorded};
use super::memory::readings_bytes;
use super::readback::Reading;
use crate::Result;
use crate::device::{Executor, Timing, TryRun};
use crate::program::{Memory, Program, ValueId};
use crate::tensor::{DType, to_floats, to_words};
use crate::weights::WeightRounding;

impl GpuExecutor {
    /// Returns the number of submissions to the queue so far.
    pub fn submits(&self) -> usize {
        self.submits
    }

    fn write_words(&mut self, id: ValueId, words: &[u32]) -> Result<()> {
        self.gpu.is_lost()?;
        self.gpu.scoped(&self.program.value(id).name, || {
            self.gpu.queue().write_buffer(self.slot(id, self.carried), 0, bytemuck::cast_slice(words));
            Ok(())
        })
    }

    /// Records ops and submits them. If they end the prologue or the body, also hands over the carried values.
    fn submit(&mut self, ops: Range<usize>) -> Result<()> {
        self.submit_recorded(self.encoded(ops.clone()), ops)
    }

    /// Submits an encoder into which ops were recorded.
    pub(super) fn submit_recorded(&mut self, mut encoder: wgpu::CommandEncoder, ops: Range<usize>) -> Result<()> {
        self.gpu.is_lost()?;
        self.hand_on(&mut encoder, &ops);
        self.turn(&ops);
        self.submits += 1;
        self.in_flight.submit(&self.gpu, encoder)
    }

    /// Records the copies from the prologue to the first step, if `ops` ends the prologue.
    fn hand_on(&self, encoder: &mut wgpu::CommandEncoder, ops: &Range<usize>) {
        if ops.end == self.program.prologue().end && !self.program.prologue().is_empty() {
            self.start(encoder);
        }
    }

    /// Swaps the carried pairs if `ops` ends the body.
    fn turn(&mut self, ops: &Range<usize>) {
        if ops.end == self.program.body().end {
            self.carried = !self.carried;
        }
    }

    /// Returns the buffer that currently holds an output.
    pub(super) fn buffer_of_output(&self, output: &str) -> Result<&wgpu::Buffer> {
        Ok(self.slot(self.readable(self.program.output(output)?), self.carried))
    }

    /// Returns the buffer that currently holds an input.
    pub(super) fn buffer_of_input(&self, input: &str) -> Result<&wgpu::Buffer> {
        Ok(self.slot(self.program.input(input)?, self.carried))
    }

    /// Records the whole body of a program without carries, in its own compute pass.
    pub(super) fn record_body(&self, encoder: &mut wgpu::CommandEncoder) {
        self.encode(encoder, self.program.body(), None);
    }

    /// Records ops as [`Executor::try_run`] runs them, into an encoder that the caller must submit before it makes
    /// any other call to the executor.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn try_record(&mut self, encoder: &mut wgpu::CommandEncoder, ops: Range<usize>) -> Result<TryRun> {
        if self.in_flight.is_full(&self.gpu)? {
            return Ok(TryRun::Full);
        }
        let stamps = self.in_flight.stamps();
        self.encode(encoder, ops.clone(), self.in_flight.writes(stamps));
        self.hand_on(encoder, &ops);
        self.in_flight.track(encoder, ops.clone(), stamps);
        self.turn(&ops);
        Ok(TryRun::Pending)
    }

    /// Records ops in one compute pass.
    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        ops: Range<usize>,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("percept"), timestamp_writes };
        self.record_into(&mut encoder.begin_compute_pass(&descriptor), ops);
    }

    /// Records ops in one compute pass of a new encoder.
    fn encoded(&self, ops: Range<usize>) -> wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("percept") };
        let mut encoder = self.gpu.device().create_command_encoder(&descriptor);
        self.encode(&mut encoder, ops, None);
        encoder
    }

    /// Records the dispatches of ops.
    pub(super) fn record_into(&self, pass: &mut wgpu::ComputePass<'_>, ops: Range<usize>) {
        for recorded in self.ops[ops].iter().flatten() {
            recorded.record(pass, self.carried);
        }
    }

    /// Records copies from the results of the prologue to the inputs of the first step.
    fn start(&self, encoder: &mut wgpu::CommandEncoder) {
        for carry in self.program.carries() {
            if let Some(start) = carry.start {
                let bytes = self.program.value(start).bytes() as u64;
                let (from, to) = (self.slot(start, false), self.slot(carry.held, self.carried));
                encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes);
            }
        }
    }

    /// Returns the value whose slot currently holds `id`. A step swaps the slots of each carried pair, so a carried
    /// output is afterwards in the slot that the next step reads.
    fn readable(&self, id: ValueId) -> ValueId {
        self.program.carries().iter().find(|carry| carry.next == id).map_or(id, |carry| carry.held)
    }

    /// Converts the words of a value, which must not be of type `u32`, to `f32`.
    fn floats_of(&self, id: ValueId, words: &[u32]) -> Vec<f32> {
        let value = self.program.value(id);
        to_floats(words, value.dtype, value.shape.elements())
    }

    fn read_words(&mut self, id: ValueId) -> Result<Vec<u32>> {
        let id = self.readable(id);
        self.gpu.read(self.slot(id, self.carried), 0, self.program.value(id).bytes())
    }

    fn try_read_words(&mut self, id: ValueId) -> Result<Option<Vec<u32>>> {
        let id = self.readable(id);
        let mut reading = match self.readings.remove(&id) {
            Some(reading) => reading,
            None => Reading::new(&self.gpu, self.program.value(id).bytes())?,
        };
        let words = reading.step(&self.gpu, self.slot(id, self.carried), 0);
        self.readings.insert(id, reading);
        words
    }
}

impl Recorded {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, carried: bool) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.groups[usize::from(carried)], &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

impl Executor for GpuExecutor {
    fn program(&self) -> &Program {
        &self.program
    }

    fn weight_rounding(&self) -> &WeightRounding {
        self.weights.rounding()
    }

    fn memory(&self) -> Memory {
        Memory {
            weights: self.weights.bytes(),
            activations: self.slots.iter().map(|slot| slot.size() as usize).sum(),
            scratch: (self.partials.size() + self.uniforms.size()) as usize + readings_bytes(&self.program),
        }
    }

    fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        let id = self.program.input_of(input, DType::F32, data.len())?;
        self.write_words(id, &to_words(data, self.program.value(id).dtype))
    }

    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        self.write_words(self.program.input_of(input, DType::U32, data.len())?, data)
    }

    fn run(&mut self, ops: Range<usize>) -> Result<()> {
        let gpu = self.gpu.clone();
        gpu.scoped("a run", || self.submit(ops))
    }

    fn try_run(&mut self, ops: Range<usize>) -> Result<TryRun> {
        let gpu = self.gpu.clone();
        gpu.scoped("a run", || {
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let begun = self.try_record(&mut encoder, ops)?;
            if begun == TryRun::Pending {
                self.in_flight.submit_tracked(&gpu, encoder);
                self.submits += 1;
            }
            Ok(begun)
        })
    }

    fn ended(&mut self) -> Result<Option<Timing>> {
        self.in_flight.ended(&self.gpu)
    }

    fn wait(&mut self) -> Result<()> {
        self.in_flight.wait(&self.gpu)
    }

    fn finish(&mut self) -> Result<()> {
        self.gpu.wait(None)
    }

    fn time_ops(&mut self, ops: Range<usize>) -> Result<Option<Vec<u64>>> {
        self.timed(ops)
    }

    fn dispatches(&self, ops: Range<usize>) -> usize {
        self.ops[ops].iter().map(Vec::len).sum()
    }

    fn read(&mut self, output: &str) -> Result<Vec<f32>> {
        let id = self.program.output_of(output, DType::F32)?;
        let words = self.read_words(id)?;
        Ok(self.floats_of(id, &words))
    }

    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>> {
        let id = self.program.output_of(output, DType::U32)?;
        self.read_words(id)
    }

    fn try_read(&mut self, output: &str) -> Result<Option<Vec<f32>>> {
        let id = self.program.output_of(output, DType::F32)?;
        Ok(self.try_read_words(id)?.map(|words| self.floats_of(id, &words)))
    }

    fn try_read_u32(&mut self, output: &str) -> Result<Option<Vec<u32>>> {
        let id = self.program.output_of(output, DType::U32)?;
        self.try_read_words(id)
    }

    fn find_non_finite(&mut self, ops: Range<usize>) -> Result<Option<String>> {
        if ops.end == self.program.body().end {
            // Return to the inputs of the last step, which are still intact in the other half of each carried pair.
            self.carried = !self.carried;
        }
        let program = self.program.clone();
        for index in ops {
            let op = &program.ops()[index];
            self.gpu.scoped(&op.layer, || {
                self.gpu.queue().submit([self.encoded(index..index + 1).finish()]);
                Ok(())
            })?;
            for id in op.writes.iter().filter(|id| program.value(**id).dtype != DType::U32) {
                let words = self.gpu.read(self.slot(*id, self.carried), 0, program.value(*id).bytes())?;
                if self.floats_of(*id, &words).iter().any(|value| !value.is_finite()) {
                    return Ok(Some(format!("{} ({})", op.layer, op.kernel.name())));
                }
            }
        }
        Ok(None)
    }
}
