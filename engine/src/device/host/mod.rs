//! The executor that runs programs in host memory, with the twins or with faster kernels.

mod widening;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::take;
use core::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use widening::Widening;

use super::Executor;
use crate::kernels::{Kernel, MAX_BINDINGS, Reads};
use crate::program::{Memory, Op, Program, ValueId};
use crate::tensor::{DType, halves, halves_mut, to_floats, to_words};
use crate::weights::{Halver, Recipe, WeightRounding, WeightSource};
use crate::{Error, Result, reference};

/// A set of kernels that run on host memory.
pub trait HostBackend: Send + 'static {
    /// Returns the number of elements of a weight in these kernels' layout, including padding.
    fn weight_elements(&self, recipe: &Recipe) -> usize {
        recipe.shape().elements()
    }

    /// Makes a weight in these kernels' layout. Each call of `put(at, values)` writes the elements from index `at`
    /// on, and the calls may come in any order. Elements that are never put are zero.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn load(&self, recipe: &Recipe, source: &dyn WeightSource, put: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        put(0, &recipe.load(source)?);
        Ok(())
    }

    /// Allocates everything that running the ops needs.
    fn prepare(&mut self, ops: &[Op]);

    /// Returns the bytes that [`HostBackend::prepare`] allocates for the ops.
    fn scratch_bytes(&self, ops: &[Op]) -> usize;

    /// Returns the memory that a program will take, without loading it.
    fn memory(&self, program: &Program) -> Memory {
        Memory {
            weights: program.recipes().map(|(recipe, dtype)| words(self.weight_elements(recipe), dtype) * 4).sum(),
            scratch: self.scratch_bytes(program.ops()) + Widening::of(program).floats.iter().sum::<usize>() * 4,
            ..program.memory()
        }
    }

    /// Converts half-precision values to `f32`. Both slices have the same length.
    fn widen(&self, halves: &[f16], floats: &mut [f32]) {
        halves.convert_to_f32_slice(floats);
    }

    /// Rounds `f32` values to half precision. Both slices have the same length.
    fn narrow(&self, floats: &[f32], halves: &mut [f16]) {
        halves.convert_from_f32_slice(floats);
    }

    /// Runs one kernel.
    fn run(&mut self, kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]);

    /// Runs `body`, which calls [`HostBackend::run`] for one op after another.
    fn scope(&mut self, body: &mut (dyn FnMut(&mut Self) + Send)) {
        body(self);
    }
}

/// The twins: slow, but correct.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl HostBackend for Reference {
    fn prepare(&mut self, _ops: &[Op]) {}

    fn scratch_bytes(&self, _ops: &[Op]) -> usize {
        0
    }

    fn run(&mut self, kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]) {
        reference::run(kernel, reads, writes);
    }
}

/// Returns the number of 32-bit words that `elements` elements take.
fn words(elements: usize, dtype: DType) -> usize {
    (elements * dtype.bytes()).div_ceil(4)
}

/// The weights of a program in host memory, in the layout of a backend's kernels.
pub struct HostWeights {
    /// The program that the weights were loaded for.
    program: Arc<Program>,
    values: Vec<Vec<u32>>,
    rounding: WeightRounding,
}

impl HostWeights {
    /// Makes the weights of a program from `source`.
    ///
    /// # Errors
    /// If a tensor cannot be read, contains NaN or an infinity, or exceeds the range of half precision.
    pub fn load(program: &Arc<Program>, source: &dyn WeightSource, backend: &impl HostBackend) -> Result<Self> {
        let mut rounding = WeightRounding::default();
        let mut values = Vec::new();
        for (recipe, dtype) in program.recipes() {
            let mut value = alloc::vec![0; words(backend.weight_elements(recipe), dtype)];
            if dtype == DType::F16 {
                let mut halver = Halver::new();
                let to = halves_mut(&mut value);
                backend.load(recipe, source, &mut |at, part| halver.round(part, &mut to[at..at + part.len()]))?;
                rounding.add(&recipe.name(), halver.rounding).map_err(|error| error.within(source.name()))?;
            } else {
                let to: &mut [f32] = bytemuck::cast_slice_mut(&mut value);
                backend.load(recipe, source, &mut |at, part| to[at..at + part.len()].copy_from_slice(part))?;
            }
            values.push(value);
        }
        Ok(HostWeights { program: program.clone(), values, rounding })
    }

    /// Returns true if these are the weights of `program`.
    pub fn are_of(&self, program: &Program) -> bool {
        self.program.recipes().eq(program.recipes())
    }
}

/// A program loaded into host memory.
pub struct HostExecutor<B> {
    backend: B,
    memory: HostMemory,
}

/// The values of a program.
struct HostMemory {
    program: Arc<Program>,
    /// One buffer per slot of the plan, in 32-bit words.
    slots: Vec<Vec<u32>>,
    /// The slot of each value. Carried values swap slots after each step.
    slot_of: Vec<Option<usize>>,
    weights: Arc<HostWeights>,
    /// The index of each value's weight, if the value is a weight.
    weight_of: Vec<Option<usize>>,
    /// The parts that each op runs in.
    widening: Widening,
    /// Buffers for widened half-precision values, one per buffer position of an op.
    wide: Vec<Vec<u32>>,
}

impl<B: HostBackend> HostExecutor<B> {
    /// Loads a program: makes its weights from `source` and allocates its slots.
    ///
    /// # Errors
    /// If a tensor cannot be read, or contains NaN or an infinity.
    pub fn new(program: Arc<Program>, source: &dyn WeightSource, backend: B) -> Result<Self> {
        let weights = HostWeights::load(&program, source, &backend)?;
        HostExecutor::with_weights(program, Arc::new(weights), backend)
    }

    /// Loads a program whose weights are already in memory, for example because a backend of the same kind loaded
    /// them for another batch size.
    ///
    /// # Errors
    /// If the weights belong to another model, or there is not enough memory.
    pub fn with_weights(program: Arc<Program>, weights: Arc<HostWeights>, mut backend: B) -> Result<Self> {
        if !weights.are_of(&program) {
            return Err(Error::config("weights", "those of the program", "those of another model"));
        }
        backend.prepare(program.ops());
        let slots = program.plan().slot_bytes().iter().map(|bytes| zeros(bytes / 4)).collect::<Result<_>>()?;
        let slot_of = (0..program.values().len()).map(|index| program.plan().slot(ValueId(index as u32))).collect();
        let weight_of = program.weight_places();
        let widening = Widening::of(&program);
        let wide = widening.floats.into_iter().map(zeros).collect::<Result<_>>()?;
        Ok(HostExecutor { backend, memory: HostMemory { program, slots, slot_of, weights, weight_of, widening, wide } })
    }
}

/// Allocates a slot, or returns an error if there is not enough memory.
fn zeros(words: usize) -> Result<Vec<u32>> {
    let mut slot = Vec::new();
    let refused = |_| Error::device("memory", alloc::format!("{} bytes for an activation", words * 4), "less");
    slot.try_reserve_exact(words).map_err(refused)?;
    slot.resize(words, 0);
    Ok(slot)
}

impl HostMemory {
    /// Returns the words of a value.
    fn words(&self, id: ValueId) -> &[u32] {
        match self.slot_of[id.index()] {
            Some(slot) => &self.slots[slot][..self.program.value(id).bytes() / 4],
            None => self.weight_of[id.index()].map_or(&[], |place| &self.weights.values[place]),
        }
    }

    fn write(&mut self, id: ValueId, data: &[u32]) {
        if let Some(slot) = self.slot_of[id.index()] {
            self.slots[slot][..data.len()].copy_from_slice(data);
        }
    }

    fn read(&self, id: ValueId) -> &[u32] {
        // After a step, a carried output is in the slot that the next step reads.
        let carried = self.program.carries().iter().find(|carry| carry.next == id);
        self.words(carried.map_or(id, |carry| carry.held))
    }

    /// Runs one op. The buffers that it writes are taken out of the slots while it runs, so that they can be borrowed
    /// together with the buffers that it reads; the planner never assigns both to the same slot.
    fn run_op<B: HostBackend>(&mut self, backend: &mut B, index: usize) {
        let program = self.program.clone();
        let op = &program.ops()[index];
        let mut wide = take(&mut self.wide);
        let mut taken: [Vec<u32>; 2] = Default::default();
        for (buffer, id) in taken.iter_mut().zip(&op.writes) {
            if let Some(slot) = self.slot_of[id.index()] {
                *buffer = take(&mut self.slots[slot]);
            }
        }
        for part in 0..self.widening.parts(index).map_or(1, |parts| parts.count) {
            self.run_part(backend, index, part, &mut taken, &mut wide);
        }
        for (buffer, id) in taken.iter_mut().zip(&op.writes) {
            if let Some(slot) = self.slot_of[id.index()] {
                self.slots[slot] = take(buffer);
            }
        }
        self.wide = wide;
    }

    /// Runs a part of an op. Half-precision inputs are widened, and half-precision results are rounded.
    fn run_part<B: HostBackend>(
        &self,
        backend: &mut B,
        index: usize,
        part: usize,
        taken: &mut [Vec<u32>; 2],
        wide: &mut [Vec<u32>],
    ) {
        let (op, parts) = (&self.program.ops()[index], self.widening.parts(index));
        let part_of = |place: usize, all: usize| parts.map_or(0..all, |parts| parts.range(place, part, all));
        let value = |id: &ValueId| self.program.value(*id);
        let (wide_reads, wide_writes) = wide.split_at_mut(op.reads.len());
        let (mut reads, mut weight): ([&[u32]; MAX_BINDINGS], _) = ([&[]; MAX_BINDINGS], DType::F32);
        for (place, ((read, wide), id)) in reads.iter_mut().zip(wide_reads).zip(&op.reads).enumerate() {
            let words = self.words(*id);
            *read = match (value(id).dtype, self.slot_of[id.index()]) {
                (DType::F16, Some(_)) => {
                    let range = part_of(place, value(id).shape.elements());
                    let wide = &mut wide[..range.len()];
                    backend.widen(&halves(words)[range], bytemuck::cast_slice_mut(wide));
                    wide
                }
                (DType::F16, None) => {
                    weight = DType::F16;
                    words
                }
                _ => &words[part_of(place, words.len())],
            };
        }
        let range = |nth: usize| {
            let elements = op.writes.get(nth).map_or(0, |id| value(id).shape.elements());
            part_of(op.reads.len() + nth, elements)
        };
        let is_half = |nth: usize| op.writes.get(nth).is_some_and(|id| value(id).dtype == DType::F16);
        // An op with one result may have no position left for a second.
        let [wide_first, wide_second] = match &mut *wide_writes {
            [first, second, ..] => [Some(first), Some(second)],
            [first] => [Some(first), None],
            [] => [None, None],
        };
        let [first, second] = &mut *taken;
        let mut writes = [(first, wide_first, 0), (second, wide_second, 1)].map(|(slot, wide, nth)| {
            match wide.filter(|_| is_half(nth)) {
                Some(wide) => &mut wide[..range(nth).len()],
                None => &mut slot[range(nth)],
            }
        });
        let reads = Reads::new(&reads[..op.reads.len()]).with_weight(weight);
        backend.run(parts.map_or(&op.kernel, |parts| &parts.kernel), reads, &mut writes[..op.writes.len()]);
        for (nth, (slot, wide)) in taken.iter_mut().zip(wide_writes).enumerate() {
            if is_half(nth) {
                let floats = bytemuck::cast_slice(&wide[..range(nth).len()]);
                backend.narrow(floats, &mut halves_mut(slot)[range(nth)]);
            }
        }
    }

    /// Hands the results of a step to the next step. Calling this twice undoes it.
    fn carry(&mut self) {
        for carry in self.program.carries() {
            self.slot_of.swap(carry.held.index(), carry.next.index());
        }
    }

    /// Copies the results of the prologue to the inputs of the first step.
    fn start(&mut self) {
        for carry in self.program.carries() {
            let start = carry.start.and_then(|start| self.slot_of[start.index()]);
            if let (Some(from), Some(to)) = (start, self.slot_of[carry.held.index()]) {
                let words = take(&mut self.slots[from]);
                let length = self.program.value(carry.held).shape.elements();
                self.slots[to][..length].copy_from_slice(&words[..length]);
                self.slots[from] = words;
            }
        }
    }

    /// Hands over the carried values if `ops` ends with the last op of the prologue or of the body.
    fn end_of(&mut self, ops: &Range<usize>) {
        let (prologue, body) = (self.program.prologue(), self.program.body());
        if ops.end == prologue.end && !prologue.is_empty() {
            self.start();
        }
        if ops.end == body.end {
            self.carry();
        }
    }

    fn writes_finite(&self, op: &Op) -> bool {
        op.writes.iter().all(|id| match self.program.value(*id).dtype {
            DType::F32 => bytemuck::cast_slice::<u32, f32>(self.words(*id)).iter().all(|x| x.is_finite()),
            DType::F16 => halves(self.words(*id)).iter().all(|x| x.is_finite()),
            DType::U32 => true,
        })
    }
}

impl<B: HostBackend> Executor for HostExecutor<B> {
    fn program(&self) -> &Program {
        &self.memory.program
    }

    fn weight_rounding(&self) -> &WeightRounding {
        &self.memory.weights.rounding
    }

    fn memory(&self) -> Memory {
        Memory {
            weights: self.memory.weights.values.iter().map(|weight| weight.len() * 4).sum(),
            activations: self.memory.slots.iter().map(|slot| slot.len() * 4).sum(),
            scratch: self.backend.scratch_bytes(self.memory.program.ops())
                + self.memory.wide.iter().map(|wide| wide.len() * 4).sum::<usize>(),
        }
    }

    fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        let id = self.memory.program.input_of(input, DType::F32, data.len())?;
        let words = to_words(data, self.memory.program.value(id).dtype);
        self.memory.write(id, &words);
        Ok(())
    }

    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        let id = self.memory.program.input_of(input, DType::U32, data.len())?;
        self.memory.write(id, data);
        Ok(())
    }

    fn run(&mut self, ops: Range<usize>) -> Result<()> {
        let HostExecutor { backend, memory } = self;
        backend.scope(&mut |backend| ops.clone().for_each(|index| memory.run_op(backend, index)));
        memory.end_of(&ops);
        Ok(())
    }

    fn read(&mut self, output: &str) -> Result<Vec<f32>> {
        let id = self.memory.program.output_of(output, DType::F32)?;
        let value = self.memory.program.value(id);
        Ok(to_floats(self.memory.read(id), value.dtype, value.shape.elements()))
    }

    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>> {
        Ok(self.memory.read(self.memory.program.output_of(output, DType::U32)?).to_vec())
    }

    fn find_non_finite(&mut self, ops: Range<usize>) -> Result<Option<String>> {
        let HostExecutor { backend, memory } = self;
        if ops.end == memory.program.body().end {
            // Return to the inputs of the last step, which are still intact in the other half of each carried pair.
            memory.carry();
        }
        for index in ops {
            memory.run_op(backend, index);
            let op = &memory.program.ops()[index];
            if !memory.writes_finite(op) {
                return Ok(Some(alloc::format!("{} ({})", op.layer, op.kernel.name())));
            }
        }
        Ok(None)
    }
}
