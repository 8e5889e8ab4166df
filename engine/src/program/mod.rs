//! A model as plain data: values, and a flat list of ops that read and write them.
//!
//! A model function builds a [`Graph`], [`Graph::finish`] turns it into a [`Program`], and an
//! [`Executor`](crate::device::Executor) runs it. Every device runs the same program, so that devices
//! can be compared.

mod graph;
mod planner;
mod precision;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

pub use graph::Graph;
pub use planner::Plan;

use crate::kernels::Kernel;
use crate::tensor::{DType, Precision, Shape};
use crate::weights::Recipe;
use crate::{Error, Result};

/// The id of a value of one [`Program`]: its index in [`Program::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// Returns the index in [`Program::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Written by the host.
    Input,
    /// Made from tensors of a model file, once, when the program is loaded.
    Weight(Recipe),
    /// Written by an op.
    Activation,
}

/// A tensor of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The name in error messages: the name of an input, the first tensor of a weight, or the layer that
    /// writes an activation.
    pub name: String,
    /// The shape.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
    /// The origin.
    pub role: Role,
}

impl Value {
    /// Returns the size of the value in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.bytes()
    }
}

/// A kernel and the values that it reads and writes, in the order of its bindings.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// The layer that the op belongs to, as the checkpoint's keys name it.
    pub layer: String,
    /// The kernel and its parameters.
    pub kernel: Kernel,
    /// The values that the op reads.
    pub reads: Vec<ValueId>,
    /// The values that the op writes.
    pub writes: Vec<ValueId>,
}

/// The memory that a program needs, in bytes. It is known before a device is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Weights, in the layout that the kernels read.
    pub weights: usize,
    /// Inputs, outputs and activations, which share slots if their lifetimes do not overlap.
    pub activations: usize,
    /// Additional memory that the executor needs.
    pub scratch: usize,
}

impl Memory {
    /// Returns the sum of all parts.
    pub fn total(&self) -> usize {
        self.weights + self.activations + self.scratch
    }
}

/// A model for one batch size, as plain data that can be run any number of times.
///
/// The ops before [`Program::body`] are the prologue. The prologue runs once, and the body runs once per
/// step. In a program without a loop, all ops belong to the body.
#[derive(Clone, Debug)]
pub struct Program {
    values: Vec<Value>,
    ops: Vec<Op>,
    outputs: Vec<(String, ValueId)>,
    body_start: usize,
    carries: Vec<Carry>,
    plan: Plan,
    precision: Precision,
}

/// A value that the body hands from one step to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// The input that a step reads.
    pub held: ValueId,
    /// The value that a step writes and the next step reads as `held`.
    pub next: ValueId,
    /// The value that the prologue writes for the first step. If `None`, the host writes the input.
    pub start: Option<ValueId>,
}

impl Program {
    /// Computes the plan of a program whose plan is still empty.
    fn planned(mut self) -> Self {
        self.plan = Plan::new(&self);
        self
    }

    /// Returns all values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Returns the value with this id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// Returns the recipe and the stored type of each weight, in the order of the values. The order is the same
    /// for every batch size and sampler of a model.
    pub(crate) fn recipes(&self) -> impl Iterator<Item = (&Recipe, DType)> {
        self.values.iter().filter_map(|value| match &value.role {
            Role::Weight(recipe) => Some((recipe, value.dtype)),
            _ => None,
        })
    }

    /// Returns, for each value, its position among the weights, or `None` if it is not a weight.
    pub(crate) fn weight_places(&self) -> Vec<Option<usize>> {
        let mut weights = 0..;
        let place = |value: &Value| matches!(value.role, Role::Weight(_)).then(|| weights.next()).flatten();
        self.values.iter().map(place).collect()
    }

    /// Returns the index of the first op of the body that writes a value that outlives the step: an output, or a
    /// value that the next step reads. Until this op runs, all such values are as the previous step left them.
    pub fn tail(&self) -> usize {
        let outlives = |id: &ValueId| {
            self.outputs.iter().any(|(_, output)| output == id) || self.carries.iter().any(|carry| carry.next == *id)
        };
        self.body().find(|&index| self.ops[index].writes.iter().any(outlives)).unwrap_or(self.ops.len())
    }

    /// Returns all ops: the prologue, then the body.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the range of the ops that run once.
    pub fn prologue(&self) -> Range<usize> {
        0..self.body_start
    }

    /// Returns the range of the ops that run once per step.
    pub fn body(&self) -> Range<usize> {
        self.body_start..self.ops.len()
    }

    /// Returns the values that the body hands from one step to the next.
    pub fn carries(&self) -> &[Carry] {
        &self.carries
    }

    /// Returns the names and ids of the values that can be read after a run.
    pub fn outputs(&self) -> &[(String, ValueId)] {
        &self.outputs
    }

    /// Returns the assignment of values to slots of memory.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the input called `name`.
    ///
    /// # Errors
    /// Returns [`Error::Config`], which lists the names that exist, if there is no such input.
    pub fn input(&self, name: &str) -> Result<ValueId> {
        let inputs = || (0..).zip(&self.values).filter(|(_, value)| value.role == Role::Input);
        inputs().find(|(_, value)| value.name == name).map(|(index, _)| ValueId(index)).ok_or_else(|| {
            let names: Vec<&str> = inputs().map(|(_, value)| value.name.as_str()).collect();
            Error::config("input", alloc::format!("one of {names:?}"), name)
        })
    }

    /// Returns the output called `name`.
    ///
    /// # Errors
    /// Returns [`Error::Config`], which lists the names that exist, if there is no such output.
    pub fn output(&self, name: &str) -> Result<ValueId> {
        self.outputs.iter().find(|(output, _)| output == name).map(|&(_, id)| id).ok_or_else(|| {
            let names: Vec<&str> = self.outputs.iter().map(|(name, _)| name.as_str()).collect();
            Error::config("output", alloc::format!("one of {names:?}"), name)
        })
    }

    /// Returns the input called `name`, which must have `elements` elements of type `dtype`. An `f32` input may
    /// be stored as `f16`.
    ///
    /// # Errors
    /// Returns the errors of [`Program::input`], and [`Error::Shape`] if the type or the number of elements differs.
    pub(crate) fn input_of(&self, name: &str, dtype: DType, elements: usize) -> Result<ValueId> {
        let id = self.input(name)?;
        let value = self.value(id);
        if !is_stored_as(value, dtype) || value.shape.elements() != elements {
            let expected = alloc::format!("{:?} {}", value.dtype, value.shape);
            return Err(Error::shape(name, expected, alloc::format!("{dtype:?}, {elements} elements")));
        }
        Ok(id)
    }

    /// Returns the output called `name`, which must have elements of type `dtype`. An `f32` output may be stored
    /// as `f16`.
    ///
    /// # Errors
    /// Returns the errors of [`Program::output`], and [`Error::Shape`] if the type differs.
    pub(crate) fn output_of(&self, name: &str, dtype: DType) -> Result<ValueId> {
        let id = self.output(name)?;
        let value = self.value(id);
        if !is_stored_as(value, dtype) {
            let expected = alloc::format!("{:?} {}", value.dtype, value.shape);
            return Err(Error::shape(name, expected, alloc::format!("{dtype:?}")));
        }
        Ok(id)
    }

    /// Returns a program that computes only the given outputs, without the ops, weights and inputs that
    /// they do not need. This gives "the representation at layer l" of Guillotine Regularization (Bordes
    /// et al. 2022, <https://arxiv.org/abs/2206.13378>) at no cost for the layers above it.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if an output does not exist.
    pub fn up_to(&self, outputs: &[&str]) -> Result<Program> {
        let kept = outputs.iter().map(|name| Ok((name.to_string(), self.output(name)?))).collect::<Result<Vec<_>>>()?;
        let mut needed = alloc::vec![false; self.values.len()];
        for (_, id) in &kept {
            needed[id.index()] = true;
        }
        // If the held value of a carry is needed, so are the values that it comes from. Each pass follows
        // chains of carries one link further, so one pass more than there are carries reaches all of them.
        let mut ops_needed = alloc::vec![false; self.ops.len()];
        let mut carried = alloc::vec![false; self.carries.len()];
        for _ in 0..=self.carries.len() {
            for (index, op) in self.ops.iter().enumerate().rev() {
                if op.writes.iter().any(|id| needed[id.index()]) {
                    ops_needed[index] = true;
                    op.reads.iter().chain(&op.writes).for_each(|id| needed[id.index()] = true);
                }
            }
            for (is_carried, carry) in carried.iter_mut().zip(&self.carries) {
                if needed[carry.held.index()] {
                    *is_carried = true;
                    needed[carry.next.index()] = true;
                    carry.start.iter().for_each(|start| needed[start.index()] = true);
                }
            }
        }

        let mut renumbered = alloc::vec![ValueId(u32::MAX); self.values.len()];
        let mut values = Vec::new();
        for (index, value) in self.values.iter().enumerate().filter(|&(index, _)| needed[index]) {
            renumbered[index] = ValueId(values.len() as u32);
            values.push(value.clone());
        }
        let renumber = |id: ValueId| renumbered[id.index()];
        let renumber_all = |ids: &[ValueId]| ids.iter().copied().map(renumber).collect();
        let ops = self.ops.iter().zip(&ops_needed).filter(|&(_, &needed)| needed);
        let ops =
            ops.map(|(op, _)| Op { reads: renumber_all(&op.reads), writes: renumber_all(&op.writes), ..op.clone() });
        let carries = self.carries.iter().zip(&carried).filter(|&(_, &carried)| carried);
        let carries = carries.map(|(carry, _)| Carry {
            held: renumber(carry.held),
            next: renumber(carry.next),
            start: carry.start.map(renumber),
        });
        let program = Program {
            ops: ops.collect(),
            outputs: kept.into_iter().map(|(name, id)| (name, renumber(id))).collect(),
            body_start: ops_needed[..self.body_start].iter().filter(|&&needed| needed).count(),
            carries: carries.collect(),
            values,
            plan: Plan::default(),
            precision: self.precision,
        };
        Ok(program.planned())
    }

    /// Returns the memory that the program needs on any device: weights and activations. A device may pad both,
    /// and adds its own scratch memory: see [`HostBackend::memory`](crate::device::HostBackend::memory) and
    /// `Gpu::memory`.
    pub fn memory(&self) -> Memory {
        let weights = self.values.iter().filter(|value| matches!(value.role, Role::Weight(_)));
        Memory {
            weights: weights.map(Value::bytes).sum(),
            activations: self.plan.slot_bytes().iter().sum(),
            scratch: 0,
        }
    }

    /// Returns the least number of bytes that `ops` move between memory and kernels: the size of each value that
    /// an op reads or writes, once per op. An op that reads part of a value, such as one layer's slice of the rows
    /// of all layers, counts the whole value.
    pub fn bytes_moved(&self, ops: Range<usize>) -> u64 {
        let of_op = |op: &Op| {
            let mut ids: Vec<ValueId> = op.reads.iter().chain(&op.writes).copied().collect();
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter().map(|id| self.value(id).bytes() as u64).sum::<u64>()
        };
        self.ops[ops].iter().map(of_op).sum()
    }

    /// Returns the number of multiply-adds of one run of the body.
    pub fn multiply_adds(&self) -> u64 {
        self.ops[self.body()].iter().map(|op| op.kernel.parameters().multiply_adds()).sum()
    }
}

/// Returns true if a value holds elements of `dtype`, counting `f16` as `f32`.
fn is_stored_as(value: &Value, dtype: DType) -> bool {
    value.dtype == dtype || (value.dtype, dtype) == (DType::F16, DType::F32)
}
