//! The executor for the host's memory, of the twins or of faster kernels.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::take;
use core::ops::Range;

use super::{Executor, Memory, Op, Program, ValueId};
use crate::kernels::{Kernel, MAX_BINDINGS, Reads};
use crate::tensor::DType;
use crate::weights::{Recipe, WeightSource};
use crate::{Error, Result, reference};

/// Kernels on host memory.
pub trait HostBackend: Send + 'static {
    /// Makes a weight as these kernels read it.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    fn load(&self, recipe: &Recipe, source: &dyn WeightSource) -> Result<Vec<f32>>;

    /// Bytes of what [`HostBackend::load`] makes of a recipe.
    fn weight_bytes(&self, recipe: &Recipe) -> usize {
        recipe.shape().elements() * size_of::<f32>()
    }

    /// Prepares for running the ops: everything that a run needs is allocated here.
    fn prepare(&mut self, ops: &[Op]);

    /// Bytes that [`HostBackend::prepare`] allocates for the ops.
    fn scratch_bytes(&self, ops: &[Op]) -> usize;

    /// What a program takes in the host's memory, before it is loaded.
    fn memory(&self, program: &Program) -> Memory {
        Memory {
            weights: program.recipes().map(|recipe| self.weight_bytes(recipe)).sum(),
            scratch: self.scratch_bytes(program.ops()),
            ..program.memory()
        }
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
    fn load(&self, recipe: &Recipe, source: &dyn WeightSource) -> Result<Vec<f32>> {
        recipe.load(source)
    }

    fn prepare(&mut self, _ops: &[Op]) {}

    fn scratch_bytes(&self, _ops: &[Op]) -> usize {
        0
    }

    fn run(&mut self, kernel: &Kernel, reads: Reads<'_>, writes: &mut [&mut [u32]]) {
        reference::run(kernel, reads, writes);
    }
}

/// The weights of a program in host memory, as a backend's kernels read them.
pub struct HostWeights {
    /// The program that they were loaded for.
    program: Arc<Program>,
    values: Vec<Vec<f32>>,
}

impl HostWeights {
    /// Makes the weights of a program from `source`.
    ///
    /// # Errors
    /// Where a tensor cannot be read or holds NaN or an infinity.
    pub fn load(program: &Arc<Program>, source: &dyn WeightSource, backend: &impl HostBackend) -> Result<Self> {
        let values = program.recipes().map(|recipe| backend.load(recipe, source)).collect::<Result<_>>()?;
        Ok(HostWeights { program: program.clone(), values })
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
        Ok(HostExecutor { backend, memory: HostMemory { program, slots, slot_of, weights, weight_of } })
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
        let length = self.program.value(id).shape.elements();
        match self.slot_of[id.index()] {
            Some(slot) => &self.slots[slot][..length],
            None => bytemuck::cast_slice(self.weight_of[id.index()].map_or(&[], |place| &self.weights.values[place])),
        }
    }

    fn write(&mut self, input: &str, dtype: DType, data: &[u32]) -> Result<()> {
        let id = self.program.input_of(input, dtype, data.len())?;
        if let Some(slot) = self.slot_of[id.index()] {
            self.slots[slot][..data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    fn read(&self, output: &str, dtype: DType) -> Result<&[u32]> {
        let id = self.program.output_of(output, dtype)?;
        // After a step, what it wrote to a carried output lies where the next step reads it.
        let carried = self.program.carries().iter().find(|carry| carry.next == id);
        Ok(self.words(carried.map_or(id, |carry| carry.held)))
    }

    /// Runs one op. The buffers it writes are taken out of the slots meanwhile, so that they can be
    /// borrowed beside those it reads; the planner never lets the two coincide.
    fn run_op<B: HostBackend>(&mut self, backend: &mut B, index: usize) {
        let program = self.program.clone();
        let op = &program.ops()[index];
        let mut taken: [Vec<u32>; 2] = Default::default();
        for (buffer, id) in taken.iter_mut().zip(&op.writes) {
            if let Some(slot) = self.slot_of[id.index()] {
                *buffer = take(&mut self.slots[slot]);
            }
        }
        let mut reads: [&[u32]; MAX_BINDINGS] = [&[]; MAX_BINDINGS];
        for (read, id) in reads.iter_mut().zip(&op.reads) {
            *read = self.words(*id);
        }
        let [first, second] = &mut taken;
        let length = |place: usize| op.writes.get(place).map_or(0, |id| program.value(*id).shape.elements());
        let mut writes = [&mut first[..length(0)], &mut second[..length(1)]];
        backend.run(&op.kernel, Reads::new(&reads[..op.reads.len()]), &mut writes[..op.writes.len()]);
        for (buffer, id) in taken.iter_mut().zip(&op.writes) {
            if let Some(slot) = self.slot_of[id.index()] {
                self.slots[slot] = take(buffer);
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
        let mut floats = op.writes.iter().filter(|id| self.program.value(**id).dtype == DType::F32);
        floats.all(|id| bytemuck::cast_slice::<u32, f32>(self.words(*id)).iter().all(|x| x.is_finite()))
    }
}

impl<B: HostBackend> Executor for HostExecutor<B> {
    fn program(&self) -> &Program {
        &self.memory.program
    }

    fn memory(&self) -> Memory {
        Memory {
            weights: self.memory.weights.values.iter().map(|weight| weight.len() * 4).sum(),
            activations: self.memory.slots.iter().map(|slot| slot.len() * 4).sum(),
            scratch: self.backend.scratch_bytes(self.memory.program.ops()),
        }
    }

    fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        self.memory.write(input, DType::F32, bytemuck::cast_slice(data))
    }

    fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        self.memory.write(input, DType::U32, data)
    }

    fn run(&mut self, ops: Range<usize>) -> Result<()> {
        let HostExecutor { backend, memory } = self;
        backend.scope(&mut |backend| ops.clone().for_each(|index| memory.run_op(backend, index)));
        memory.end_of(&ops);
        Ok(())
    }

    fn read(&mut self, output: &str) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_slice(self.memory.read(output, DType::F32)?).to_vec())
    }

    fn read_u32(&mut self, output: &str) -> Result<Vec<u32>> {
        Ok(self.memory.read(output, DType::U32)?.to_vec())
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
