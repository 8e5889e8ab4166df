//! The GPU executor. Loading a program prepares everything, so that a run (`run.rs`) only records dispatches.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Gpu;
use super::dispatch::{Bound, Dispatch, PARTIALS, Region};
use super::in_flight::InFlight;
use super::memory::{GUARD, Sizes, UNIFORM_ALIGNMENT};
use super::pipelines::Pipeline;
use super::readback::Reading;
use super::weights::{GpuWeights, buffer};
use crate::program::{Op, Program, ValueId};
use crate::tensor::DType;
use crate::weights::WeightSource;
use crate::{Error, Result};

/// The NaN that a guarded executor fills slots and guard zones with.
const POISON: u32 = 0x7fc0_0bad;

/// A program on a GPU.
pub struct GpuExecutor {
    pub(super) gpu: Gpu,
    pub(super) program: Arc<Program>,
    /// One buffer per slot of the plan.
    pub(super) slots: Vec<wgpu::Buffer>,
    pub(super) weights: Arc<GpuWeights>,
    /// The index of each value's weight, if the value is a weight.
    pub(super) weight_of: Vec<Option<usize>>,
    /// The partial results of split sums.
    pub(super) partials: wgpu::Buffer,
    pub(super) uniforms: wgpu::Buffer,
    /// The dispatches of each op.
    pub(super) ops: Vec<Vec<Recorded>>,
    /// True if the carried pairs have been swapped an odd number of times.
    pub(super) carried: bool,
    pub(super) in_flight: InFlight,
    /// The outputs that are being read without waiting, or were read so before.
    pub(super) readings: BTreeMap<ValueId, Reading>,
    pub(super) submits: usize,
    pub(super) guarded: bool,
}

/// A dispatch that is ready to be recorded.
pub(super) struct Recorded {
    pub(super) pipeline: Arc<Pipeline>,
    /// The bind groups for the initial places of the carried values, and for their swapped places.
    pub(super) groups: [wgpu::BindGroup; 2],
    pub(super) grid: [u32; 2],
}

impl GpuExecutor {
    /// Loads a program: makes its pipelines, weights, slots and bind groups.
    ///
    /// # Errors
    /// If a tensor cannot be read, or contains NaN or an infinity. If the device fails, returns
    /// [`Error::OutOfMemory`], [`Error::Shader`] or [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, program: Arc<Program>, source: &dyn WeightSource) -> Result<Self> {
        GpuExecutor::with_weights(gpu, program.clone(), Arc::new(GpuWeights::load(gpu, &program, source)?))
    }

    /// Loads a program whose weights are already on the same device, for example because they were loaded for another
    /// batch size.
    ///
    /// # Errors
    /// If the weights belong to another model. If the device fails, returns [`Error::OutOfMemory`], [`Error::Shader`]
    /// or [`Error::DeviceLost`].
    pub fn with_weights(gpu: &Gpu, program: Arc<Program>, weights: Arc<GpuWeights>) -> Result<Self> {
        Self::load(gpu, program, weights, false)
    }

    /// Loads a program as [`GpuExecutor::new`] does, with a guard zone after every buffer that a kernel writes. The
    /// guard zone is bound together with the buffer, and both are poisoned. [`GpuExecutor::broken_guard`] finds
    /// kernels that write out of bounds. NaNs in a result reveal kernels that skip an element or read out of bounds.
    /// This is for tests: without wgpu's checks, a kernel itself must stay within its buffers.
    ///
    /// # Errors
    /// See [`GpuExecutor::new`].
    pub fn guarded(gpu: &Gpu, program: Arc<Program>, source: &dyn WeightSource) -> Result<Self> {
        Self::load(gpu, program.clone(), Arc::new(GpuWeights::load(gpu, &program, source)?), true)
    }

    fn load(gpu: &Gpu, program: Arc<Program>, weights: Arc<GpuWeights>, guarded: bool) -> Result<Self> {
        if !weights.are_of(&program) {
            return Err(Error::config("weights", "those of the program", "those of another model"));
        }
        let planned = gpu.prepared(&program)?;
        let sizes = Sizes::of(&program, &planned);
        let slots = sizes.slots.iter().map(|&bytes| buffer(gpu, "activation", bytes)).collect::<Result<_>>()?;
        let partials = buffer(gpu, PARTIALS, sizes.partials)?;
        let uniforms = uniforms(gpu, &planned, sizes.uniforms)?;
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

    /// Returns the part of a buffer that a dispatch binds.
    fn resource(&self, op: &Op, bound: &Bound, carried: bool) -> Result<wgpu::BindingResource<'_>> {
        // Include as much of the guard zone as a binding can hold.
        let most = self.gpu.capabilities().max_binding_bytes;
        let guard = |bytes: usize| if self.guarded { (bytes + GUARD).min(most.max(bytes)) } else { bytes };
        let range = |whole: usize, dtype: DType| match bound.region {
            Region::Elements { first, count } => (first * dtype.bytes(), count * dtype.bytes()),
            Region::Whole | Region::Part(_) => (0, whole),
        };
        if bound.of == PARTIALS {
            let (offset, bytes) = range(self.partials.size() as usize - GUARD, DType::F32);
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
        let value = self.program.value(id);
        let (offset, bytes) = range(value.bytes(), value.dtype);
        Ok(binding(self.slot(id, carried), offset, guard(bytes)))
    }

    /// Returns the buffer of a value that is not a weight.
    pub(super) fn slot(&self, id: ValueId, carried: bool) -> &wgpu::Buffer {
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

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn poison(&self) -> Result<()> {
        for whole in self.slots.iter().chain([&self.partials]) {
            let words = vec![POISON; whole.size() as usize / 4];
            self.gpu.queue().write_buffer(whole, 0, bytemuck::cast_slice(&words));
        }
        let index = self.gpu.queue().submit([]);
        self.gpu.wait(Some(index))
    }

    /// Returns the first buffer whose guard zone was overwritten: a slot, by its number, or the partial results of
    /// sums. Returns `None` if all guard zones are intact.
    ///
    /// # Errors
    /// If the device fails.
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

/// Returns a binding of a range of a buffer.
fn binding(buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> wgpu::BindingResource<'_> {
    let size = std::num::NonZeroU64::new(bytes as u64);
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: offset as u64, size })
}

/// Makes the buffer of the parameters of all dispatches, each at an offset where a binding may begin.
fn uniforms(gpu: &Gpu, planned: &[Vec<Dispatch>], size: usize) -> Result<wgpu::Buffer> {
    let mut bytes = Vec::with_capacity(size);
    for dispatch in planned.iter().flatten() {
        bytes.extend_from_slice(bytemuck::cast_slice(&dispatch.params));
        bytes.resize(bytes.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
    }
    gpu.scoped("parameters", || {
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: size as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue().write_buffer(&buffer, 0, &bytes);
        Ok(buffer)
    })
}
