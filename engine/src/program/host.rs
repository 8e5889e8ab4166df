//! The executor for the host's memory, of the twins or of faster kernels.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::take;
use core::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::widening::Widening;
use super::{Executor, Memory, Op, Program, ValueId};
use crate::kernels::{Kernel, MAX_BINDINGS, Reads};
use crate::tensor::{DType, halves, halves_mut, to_floats, to_words};
use crate::weights::{Halver, Recipe, WeightRounding, WeightSource};
use crate::{Error, Result, reference};

/// Kernels on host memory.
pub trait HostBackend: Send + 'static {
    /// Elements of a weight as these kernels read it, padding included.
    fn weight_elements(&self, recipe: &Recipe) -> usize {
        recipe.shape().elements()
    }

    /// Makes a weight as these kernels read it: `put(at, values)` takes the elements from one on, in any order. What is
    /// not put is zero.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    fn load(&self, recipe: &Recipe, source: &dyn WeightSource, put: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        put(0, &recipe.load(source)?);
        Ok(())
    }

    /// Prepares for running the ops: everything that a run needs is allocated here.
    fn prepare(&mut self, ops: &[Op]);

    /// Bytes that [`HostBackend::prepare`] allocates for the ops.
    fn scratch_bytes(&self, ops: &[Op]) -> usize;

    /// What a program takes in the host's memory, before it is loaded.
    fn memory(&self, program: &Program) -> Memory {
        Memory {
            weights: program.recipes().map(|(recipe, dtype)| words(self.weight_elements(recipe), dtype) * 4).sum(),
            scratch: self.scratch_bytes(program.ops()) + Widening::of(program).floats.iter().sum::<usize>() * 4,
            ..program.memory()
        }
    }

    /// Makes floats of halves, or halves of floats, as many as there are of both.
    fn widen(&self, halves: &[f16], floats: &mut [f32]) {
        halves.convert_to_f32_slice(floats);
    }

    /// See [`HostBackend::widen`].
    fn narrow(&self, floats: &[f32], halves: &mut [f16]) {
        halves.convert_from_f32_slice(floats);
    }

    /// Runs one kernel.
    fn run(&mut self, kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]);

    /// Runs `body`, which calls [`HostBackend::run`] for one op after the other.
    fn scope(&mut self, body: &mut (dyn FnMut(&mut Self) + Send)) {
        body(self);
    }
}

/// The twins: slow and right.
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

/// Words that so many elements take.
fn words(elements: usize, dtype: DType) -> usize {
    (elements * dtype.bytes()).div_ceil(4)
}

/// The weights of a program in host memory, as a backend's kernels read them.
pub struct HostWeights {
    /// The program that they were loaded for.
    program: Arc<Program>,
    values: Vec<Vec<u32>>,
    rounding: WeightRounding,
}

impl HostWeights {
    /// Makes the weights of a program from `source`.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity, or what half precision has no room for.
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

    /// Whether they are those of a program.
    pub fn are_of(&self, program: &Program) -> bool {
        self.program.recipes().eq(program.recipes())
    }
}

/// A program in host memory.
pub struct HostExecutor<B> {
    backend: B,
    memory: HostMemory,
}

/// The values of a program.
struct HostMemory {
    program: Arc<Program>,
    /// One buffer per slot of the plan, as 32-bit words.
    slots: Vec<Vec<u32>>,
    /// Which slot holds which value; carried values change places.
    slot_of: Vec<Option<usize>>,
    weights: Arc<HostWeights>,
    /// Which weight is which value.
    weight_of: Vec<Option<usize>>,
    /// What the ops are run in.
    widening: Widening,
    /// What values of half precision are widened to, by the places of an op's buffers.
    wide: Vec<Vec<u32>>,
}

impl<B: HostBackend> HostExecutor<B> {
    /// Loads a program: its weights are made from `source`, its slots allocated.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity.
    pub fn new(program: Arc<Program>, source: &dyn WeightSource, backend: B) -> Result<Self> {
        let weights = HostWeights::load(&program, source, &backend)?;
        HostExecutor::with_weights(program, Arc::new(weights), backend)
    }

    /// Loads a program whose weights are there: made for another batch size, say, by a backend of the same kind.
    ///
    /// # Errors
    /// Where they are those of another model, or there is no memory.
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

/// A slot, if there is memory for it.
fn zeros(words: usize) -> Result<Vec<u32>> {
    let mut slot = Vec::new();
    let refused = |_| Error::device("memory", alloc::format!("{} bytes for an activation", words * 4), "less");
    slot.try_reserve_exact(words).map_err(refused)?;
    slot.resize(words, 0);
    Ok(slot)
}

impl HostMemory {
    /// The words of a value.
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
        // After a step, what it wrote to a carried output lies where the next step reads it.
        let carried = self.program.carries().iter().find(|carry| carry.next == id);
        self.words(carried.map_or(id, |carry| carry.held))
    }

    /// Runs one op. The buffers it writes are taken out of the slots meanwhile, so that they can be
    /// borrowed beside those it reads; the planner never lets the two coincide.
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

    /// Runs a part of an op. Values of half precision are widened for it, and what it writes is rounded.
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
        // An op that writes one value may have used up all places.
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

    /// Hands what a step wrote to the next. Done twice, it is undone.
    fn carry(&mut self) {
        for carry in self.program.carries() {
            self.slot_of.swap(carry.held.index(), carry.next.index());
        }
    }

    /// Hands what the prologue wrote to the first step.
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

    /// What comes after the last op of the prologue, and of the body.
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
            // Back to what the last step read: it lies untouched in the other half of the carried pairs.
            memory.carry();
        }
        for index in ops {
            memory.run_op(backend, index);
            let op = &memory.program.ops()[index];
            if !memory.writes_finite(op) {
                return Ok(Some(alloc::format!("{} ({})", op.layer, op.kernel.parameters().name())));
            }
        }
        Ok(None)
    }
}
