//! The GPU executor: everything is prepared when a program is loaded; a run only records dispatches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::context::Gpu;
use super::dispatch::{Bound, Dispatch, PARTIALS, Region, partials_elements};
use super::in_flight::InFlight;
use super::pipelines::Pipeline;
use super::readback::Reading;
use super::weights::{GpuWeights, buffer};
use crate::program::{Begun, Executor, Memory, Op, Program, Took, ValueId};
use crate::tensor::DType;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The alignment of a uniform binding's offset, on every device.
const UNIFORM_ALIGNMENT: usize = 256;
/// Bytes after each slot that no kernel may touch: what is written there shows in a guarded executor.
pub(super) const GUARD: usize = 256;
/// What a guarded executor fills slots and guards with: a NaN.
const POISON: u32 = 0x7fc0_0bad;

/// A program on a GPU.
pub struct GpuExecutor {
    gpu: Gpu,
    program: Arc<Program>,
    /// One buffer per slot of the plan.
    slots: Vec<wgpu::Buffer>,
    weights: Arc<GpuWeights>,
    /// Which weight is which value.
    weight_of: Vec<Option<usize>>,
    /// Where the parts of split sums lie.
    partials: wgpu::Buffer,
    uniforms: wgpu::Buffer,
    /// One per op.
    ops: Vec<Vec<Recorded>>,
    /// Whether each carried pair has changed places an odd number of times.
    carried: bool,
    in_flight: InFlight,
    /// Outputs that are or were read without waiting.
    readings: BTreeMap<ValueId, Reading>,
    submits: usize,
    guarded: bool,
}

/// A dispatch that is ready to be recorded.
struct Recorded {
    pipeline: Arc<Pipeline>,
    /// As the carried values lie at first, and after they have changed places.
    groups: [wgpu::BindGroup; 2],
    grid: [u32; 2],
}

impl GpuExecutor {
    /// Loads a program: pipelines, weights, slots and bind groups are all made here.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity; [`Error::OutOfMemory`], [`Error::Shader`],
    /// [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, program: Arc<Program>, source: &dyn WeightSource) -> Result<Self> {
        GpuExecutor::with_weights(gpu, program.clone(), Arc::new(GpuWeights::load(gpu, &program, source)?))
    }

    /// Loads a program whose weights are there: made on the same device, for another batch size, say.
    ///
    /// # Errors
    /// Where they are those of another model; [`Error::OutOfMemory`], [`Error::Shader`], [`Error::DeviceLost`].
    pub fn with_weights(gpu: &Gpu, program: Arc<Program>, weights: Arc<GpuWeights>) -> Result<Self> {
        Self::load(gpu, program, weights, false)
    }

    /// As [`GpuExecutor::new`], and every buffer that a kernel writes ends in a guard zone that is bound with it, poisoned
    /// as the buffer itself is: [`GpuExecutor::broken_guard`] finds a kernel that writes where it must not, and NaNs in
    /// a result one that leaves an element out or reads where it must not. For tests: without wgpu's checks a kernel
    /// has to stay in its buffers by itself.
    ///
    /// # Errors
    /// As [`GpuExecutor::new`].
    pub fn guarded(gpu: &Gpu, program: Arc<Program>, source: &dyn WeightSource) -> Result<Self> {
        Self::load(gpu, program.clone(), Arc::new(GpuWeights::load(gpu, &program, source)?), true)
    }

    fn load(gpu: &Gpu, program: Arc<Program>, weights: Arc<GpuWeights>, guarded: bool) -> Result<Self> {
        if !weights.are_of(&program) {
            return Err(Error::config("weights", "those of the program", "those of another model"));
        }
        let planned = gpu.prepared(&program)?;
        let slots = program.plan().slot_bytes().iter().map(|bytes| buffer(gpu, "activation", bytes + GUARD));
        let slots = slots.collect::<Result<_>>()?;
        let elements = planned.iter().map(|dispatches| partials_elements(dispatches)).max().unwrap_or(0);
        let partials = buffer(gpu, PARTIALS, 4 * elements.max(1) + GUARD)?;
        let uniforms = uniforms(gpu, &planned)?;
        let mut executor = GpuExecutor {
            gpu: gpu.clone(),
            weight_of: program.weight_places(),
            program,
            slots,
            weights,
            partials,
            uniforms,
            ops: Vec::new(),
            carried: false,
            in_flight: InFlight::new(gpu)?,
            readings: BTreeMap::new(),
            submits: 0,
            guarded,
        };
        if guarded {
            executor.poison()?;
        }
        executor.ops = gpu.scoped("bind groups", || executor.record(&planned))?;
        Ok(executor)
    }

    /// Makes the bind groups of all dispatches.
    fn record(&self, planned: &[Vec<Dispatch>]) -> Result<Vec<Vec<Recorded>>> {
        let mut place = 0;
        let mut recorded = Vec::new();
        for (op, dispatches) in self.program.ops().iter().zip(planned) {
            let touches_carry = op
                .reads
                .iter()
                .chain(&op.writes)
                .any(|id| self.program.carries().iter().any(|carry| [carry.held, carry.next].contains(id)));
            let mut of_op = Vec::new();
            for dispatch in dispatches {
                let pipeline = self.gpu.pipelines().get(dispatch)?;
                let group = |carried| self.bind_group(op, dispatch, &pipeline, place, carried);
                let first = group(false)?;
                let second = if touches_carry { group(true)? } else { first.clone() };
                of_op.push(Recorded { pipeline, groups: [first, second], grid: dispatch.grid });
                place += 1;
            }
            recorded.push(of_op);
        }
        Ok(recorded)
    }

    fn bind_group(
        &self,
        op: &Op,
        dispatch: &Dispatch,
        pipeline: &Pipeline,
        place: usize,
        carried: bool,
    ) -> Result<wgpu::BindGroup> {
        let numbers = dispatch.binding_numbers()?;
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: binding(&self.uniforms, place * UNIFORM_ALIGNMENT, dispatch.params.len() * 4),
        }];
        for (bound, (number, _)) in dispatch.buffers.iter().zip(numbers) {
            let resource = self.resource(op, bound, carried)?;
            entries.push(wgpu::BindGroupEntry { binding: number, resource });
        }
        Ok(self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&op.layer),
            layout: &pipeline.layout,
            entries: &entries,
        }))
    }

    /// The part of a buffer that a dispatch binds.
    fn resource(&self, op: &Op, bound: &Bound, carried: bool) -> Result<wgpu::BindingResource<'_>> {
        // As much of the guard zone as a binding can hold.
        let most = self.gpu.profile().max_binding_bytes;
        let guard = |bytes: usize| if self.guarded { (bytes + GUARD).min(most.max(bytes)) } else { bytes };
        let range = |whole: usize| match bound.region {
            Region::Elements { first, count } => (first * 4, count * 4),
            Region::Whole | Region::Part(_) => (0, whole),
        };
        if bound.of == PARTIALS {
            let (offset, bytes) = range(self.partials.size() as usize - GUARD);
            return Ok(binding(&self.partials, offset, guard(bytes)));
        }
        let names = op.kernel.parameters().bindings();
        let place = names.iter().position(|binding| binding.name == bound.of);
        let id = place.and_then(|place| op.reads.iter().chain(&op.writes).nth(place));
        let id = *id.ok_or_else(|| Error::shader(&op.layer, "a buffer of the kernel", bound.of))?;
        if let Some(place) = self.weight_of[id.index()] {
            let part = if let Region::Part(part) = bound.region { part } else { 0 };
            let whole = &self.weights.at(place).parts[part];
            return Ok(binding(whole, 0, whole.size() as usize));
        }
        let (offset, bytes) = range(self.program.value(id).bytes());
        Ok(binding(self.slot(id, carried), offset, guard(bytes)))
    }

    /// The buffer of a value that is no weight.
    fn slot(&self, id: ValueId, carried: bool) -> &wgpu::Buffer {
        let mut id = id;
        if carried {
            for carry in self.program.carries() {
                if carry.held == id {
                    id = carry.next;
                } else if carry.next == id {
                    id = carry.held;
                }
            }
        }
        // Only weights have no slot.
        &self.slots[self.program.plan().slot(id).unwrap_or_default()]
    }

    /// Submits to the queue that its runs have come to so far.
    pub fn submits(&self) -> usize {
        self.submits
    }

    fn write_words(&mut self, input: &str, dtype: DType, words: &[u32]) -> Result<()> {
        let id = self.program.input_of(input, dtype, words.len())?;
        self.gpu.is_lost()?;
        self.gpu.scoped(input, || {
            self.gpu.queue().write_buffer(self.slot(id, self.carried), 0, bytemuck::cast_slice(words));
            Ok(())
        })
    }

    /// Records ops and submits them; hands on what is carried, where they end the prologue or the body.
    fn submit(&mut self, ops: Range<usize>) -> Result<()> {
        let encoder = self.encode(ops.clone(), None);
        self.submit_recorded(encoder, ops)
    }

    /// Submits what ops were recorded into.
    pub(super) fn submit_recorded(&mut self, mut encoder: wgpu::CommandEncoder, ops: Range<usize>) -> Result<()> {
        self.gpu.is_lost()?;
        self.hand_on(&mut encoder, &ops);
        self.turn(&ops);
        self.submits += 1;
        self.in_flight.submit(&self.gpu, encoder)
    }

    /// Behind the last op of the prologue, what it hands on to the first step.
    fn hand_on(&self, encoder: &mut wgpu::CommandEncoder, ops: &Range<usize>) {
        if ops.end == self.program.prologue().end && !self.program.prologue().is_empty() {
            self.start(encoder);
        }
    }

    /// Behind the last op of the body, what is carried changes places.
    fn turn(&mut self, ops: &Range<usize>) {
        if ops.end == self.program.body().end {
            self.carried = !self.carried;
        }
    }

    /// The buffer in which an output of `f32` or `u32` lies now.
    pub(super) fn buffer_of_output(&self, output: &str) -> Result<&wgpu::Buffer> {
        Ok(self.slot(self.readable(self.program.output(output)?), self.carried))
    }

    /// The buffer in which an input lies now.
    pub(super) fn buffer_of_input(&self, input: &str) -> Result<&wgpu::Buffer> {
        Ok(self.slot(self.program.input(input)?, self.carried))
    }

    /// Records the whole body of a program that carries nothing into a pass of its own.
    pub(super) fn record_body(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.record_into(&mut pass, self.program.body());
    }

    /// Ops in one compute pass.
    fn encode(
        &self,
        ops: Range<usize>,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) -> wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("percept") };
        let mut encoder = self.gpu.device().create_command_encoder(&descriptor);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        self.record_into(&mut pass, ops);
        drop(pass);
        encoder
    }

    /// The dispatches of ops.
    pub(super) fn record_into(&self, pass: &mut wgpu::ComputePass<'_>, ops: Range<usize>) {
        for recorded in self.ops[ops].iter().flatten() {
            recorded.record(pass, self.carried);
        }
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Copies what the prologue wrote to where the first step reads it.
    fn start(&self, encoder: &mut wgpu::CommandEncoder) {
        for carry in self.program.carries() {
            if let Some(start) = carry.start {
                let bytes = self.program.value(start).bytes() as u64;
                let (from, to) = (self.slot(start, false), self.slot(carry.held, self.carried));
                encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes);
            }
        }
    }

    /// Where a value lies that can be read: after a step, what it wrote to a carried output lies where the next step
    /// reads it, for the pair has changed places, and so has the name.
    fn readable(&self, id: ValueId) -> ValueId {
        self.program.carries().iter().find(|carry| carry.next == id).map_or(id, |carry| carry.held)
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

    fn poison(&self) -> Result<()> {
        for whole in self.slots.iter().chain([&self.partials]) {
            let words = vec![POISON; whole.size() as usize / 4];
            self.gpu.queue().write_buffer(whole, 0, bytemuck::cast_slice(&words));
        }
        let index = self.gpu.queue().submit([]);
        self.gpu.wait(Some(index))
    }

    /// The first buffer whose guard zone was written to: a slot, by its number, or the partial sums. None where all
    /// are as they were.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn broken_guard(&mut self) -> Result<Option<String>> {
        for (index, whole) in self.slots.iter().chain([&self.partials]).enumerate() {
            let end = whole.size() as usize;
            let guard = self.gpu.read(whole, end - GUARD, GUARD)?;
            if guard.iter().any(|&word| word != POISON) {
                return Ok(Some(if index == self.slots.len() { PARTIALS.into() } else { format!("slot {index}") }));
            }
        }
        Ok(None)
    }
}

impl Recorded {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, carried: bool) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.groups[usize::from(carried)], &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

/// A range of a buffer.
fn binding(buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> wgpu::BindingResource<'_> {
    let size = std::num::NonZeroU64::new(bytes as u64);
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: offset as u64, size })
}

/// The parameters of all dispatches, each where a binding may begin.
fn uniforms(gpu: &Gpu, planned: &[Vec<Dispatch>]) -> Result<wgpu::Buffer> {
    let mut bytes = Vec::new();
    for dispatch in planned.iter().flatten() {
        bytes.extend_from_slice(bytemuck::cast_slice(&dispatch.params));
        bytes.resize(bytes.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
    }
    gpu.scoped("parameters", || {
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: bytes.len().max(UNIFORM_ALIGNMENT) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue().write_buffer(&buffer, 0, &bytes);
        Ok(buffer)
    })
}

impl Executor for GpuExecutor {
    fn program(&self) -> &Program {
        &self.program
    }

    fn memory(&self) -> Memory {
        Memory {
            weights: self.weights.bytes(),
            activations: self.slots.iter().map(|slot| slot.size() as usize).sum(),
            scratch: (self.partials.size() + self.uniforms.size()) as usize,
        }
    }

    fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        self.write_words(input, DType::F32, bytemuck::cast_slice(data))
    }

    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        self.write_words(input, DType::U32, data)
    }

    fn run(&mut self, ops: Range<usize>) -> Result<()> {
        let gpu = self.gpu.clone();
        gpu.scoped("a run", || self.submit(ops))
    }

    fn try_run(&mut self, ops: Range<usize>) -> Result<Begun> {
        let gpu = self.gpu.clone();
        if self.in_flight.is_full(&gpu)? {
            return Ok(Begun::Full);
        }
        gpu.scoped("a run", || {
            let stamps = self.in_flight.stamps();
            let mut encoder = self.encode(ops.clone(), self.in_flight.writes(stamps));
            self.hand_on(&mut encoder, &ops);
            self.in_flight.submit_timed(&gpu, encoder, ops.clone(), stamps);
            Ok(())
        })?;
        self.turn(&ops);
        self.submits += 1;
        Ok(Begun::UnderWay)
    }

    fn ended(&mut self) -> Result<Option<Took>> {
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
        Ok(self.read_words(id)?.into_iter().map(f32::from_bits).collect())
    }

    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>> {
        let id = self.program.output_of(output, DType::U32)?;
        self.read_words(id)
    }

    fn try_read(&mut self, output: &str) -> Result<Option<Vec<f32>>> {
        let id = self.program.output_of(output, DType::F32)?;
        Ok(self.try_read_words(id)?.map(|words| words.into_iter().map(f32::from_bits).collect()))
    }

    fn try_read_u32(&mut self, output: &str) -> Result<Option<Vec<u32>>> {
        let id = self.program.output_of(output, DType::U32)?;
        self.try_read_words(id)
    }

    fn find_non_finite(&mut self, ops: Range<usize>) -> Result<Option<String>> {
        if ops.end == self.program.body().end {
            // Back to what the last step read: it lies untouched in the other half of the carried pairs.
            self.carried = !self.carried;
        }
        let program = self.program.clone();
        for index in ops {
            let op = &program.ops()[index];
            self.gpu.scoped(&op.layer, || {
                self.gpu.queue().submit([self.encode(index..index + 1, None).finish()]);
                Ok(())
            })?;
            for id in op.writes.iter().filter(|id| program.value(**id).dtype == DType::F32) {
                let words = self.gpu.read(self.slot(*id, self.carried), 0, program.value(*id).bytes())?;
                if words.iter().any(|word| !f32::from_bits(*word).is_finite()) {
                    return Ok(Some(format!("{} ({})", op.layer, op.kernel.parameters().name())));
                }
            }
        }
        Ok(None)
    }
}
