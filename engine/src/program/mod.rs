//! A model as plain data: values, and a flat list of ops that read and write them.
//!
//! A [`Graph`] is built by a model function, [`Graph::finish`] makes it into a [`Program`], and an
//! [`Executor`] runs it. The same program runs on every device; that is what makes them comparable.

mod executor;
mod graph;
mod host;
mod planner;
mod precision;
mod widening;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

pub use executor::{Begun, Executor, Took};
pub use graph::Graph;
pub use host::{HostBackend, HostExecutor, HostWeights, Reference};
pub use planner::Plan;

use crate::kernels::Kernel;
use crate::tensor::{DType, Precision, Shape};
use crate::weights::Recipe;
use crate::{Error, Result};

/// A value of one [`Program`], by its index in [`Program::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

impl ValueId {
    /// The index in [`Program::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Written by the host.
    Input,
    /// Made of a model file's tensors, once, when the program is loaded.
    Weight(Recipe),
    /// Written by an op.
    Activation,
}

/// A tensor of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What it is called in errors: an input's or output's name, or the layer that makes it.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Its element type.
    pub dtype: DType,
    /// Where it comes from.
    pub role: Role,
}

impl Value {
    /// Bytes of all its elements.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.bytes()
    }
}

/// A kernel with the values it reads and writes, in the order of its bindings.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// The layer it belongs to, as the checkpoint's keys name it.
    pub layer: String,
    /// The kernel and its parameters.
    pub kernel: Kernel,
    /// Values read.
    pub reads: Vec<ValueId>,
    /// Values written.
    pub writes: Vec<ValueId>,
}

/// What a program needs, in bytes; known before a device is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Weights as the kernels read them.
    pub weights: usize,
    /// Inputs, outputs and activations, which share slots where their lives do not overlap.
    pub activations: usize,
    /// What an executor needs beside them.
    pub scratch: usize,
}

impl Memory {
    /// All together.
    pub fn total(&self) -> usize {
        self.weights + self.activations + self.scratch
    }
}

/// A model for one batch size: plain data, run as often as wanted.
///
/// The ops before [`Program::body`] are the prologue: they run once, the body once per step. A
/// program without a loop is all body.
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

/// What the body hands from one step to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// The input that a step reads.
    pub held: ValueId,
    /// What it writes, and the next step reads as `held`.
    pub next: ValueId,
    /// What the prologue writes for the first step; without it the host writes the input.
    pub start: Option<ValueId>,
}

impl Program {
    /// Plans the slots of a program whose plan is still empty.
    fn planned(mut self) -> Self {
        self.plan = Plan::new(&self);
        self
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The recipes of all weights, in the order of the values: the same for every batch size and sampler of a model.
    /// Each with the type that it is stored in.
    pub(crate) fn recipes(&self) -> impl Iterator<Item = (&Recipe, DType)> {
        self.values.iter().filter_map(|value| match &value.role {
            Role::Weight(recipe) => Some((recipe, value.dtype)),
            _ => None,
        })
    }

    /// For each value that is a weight, its place among the weights.
    pub(crate) fn weight_places(&self) -> Vec<Option<usize>> {
        let mut weights = 0..;
        let place = |value: &Value| matches!(value.role, Role::Weight(_)).then(|| weights.next()).flatten();
        self.values.iter().map(place).collect()
    }

    /// The first op of the body that writes what outlives a step: an output, or what the next step reads. Before it,
    /// everything is still as the last step left it.
    pub fn tail(&self) -> usize {
        let outlives = |id: &ValueId| {
            self.outputs.iter().any(|(_, output)| output == id) || self.carries.iter().any(|carry| carry.next == *id)
        };
        self.body().find(|&index| self.ops[index].writes.iter().any(outlives)).unwrap_or(self.ops.len())
    }

    /// All ops: the prologue, then the body.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The ops that run once.
    pub fn prologue(&self) -> Range<usize> {
        0..self.body_start
    }

    /// The ops that run once per step.
    pub fn body(&self) -> Range<usize> {
        self.body_start..self.ops.len()
    }

    /// What the body hands from one step to the next.
    pub fn carries(&self) -> &[Carry] {
        &self.carries
    }

    /// The values that can be read after a run, by name.
    pub fn outputs(&self) -> &[(String, ValueId)] {
        &self.outputs
    }

    /// Which slot holds which value.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The input of a name.
    ///
    /// # Errors
    /// [`Error::Config`] with the names that exist.
    pub fn input(&self, name: &str) -> Result<ValueId> {
        let inputs = || (0..).zip(&self.values).filter(|(_, value)| value.role == Role::Input);
        inputs().find(|(_, value)| value.name == name).map(|(index, _)| ValueId(index)).ok_or_else(|| {
            let names: Vec<&str> = inputs().map(|(_, value)| value.name.as_str()).collect();
            Error::config("input", alloc::format!("one of {names:?}"), name)
        })
    }

    /// The output of a name.
    ///
    /// # Errors
    /// [`Error::Config`] with the names that exist.
    pub fn output(&self, name: &str) -> Result<ValueId> {
        self.outputs.iter().find(|(output, _)| output == name).map(|&(_, id)| id).ok_or_else(|| {
            let names: Vec<&str> = self.outputs.iter().map(|(name, _)| name.as_str()).collect();
            Error::config("output", alloc::format!("one of {names:?}"), name)
        })
    }

    /// The input of a name, which is of this type, or half as wide, and has so many elements.
    ///
    /// # Errors
    /// As [`Program::input`]; [`Error::Shape`] where it has not.
    pub(crate) fn input_of(&self, name: &str, dtype: DType, elements: usize) -> Result<ValueId> {
        let id = self.input(name)?;
        let value = self.value(id);
        if !is_stored_as(value, dtype) || value.shape.elements() != elements {
            let expected = alloc::format!("{:?} {}", value.dtype, value.shape);
            return Err(Error::shape(name, expected, alloc::format!("{dtype:?}, {elements} elements")));
        }
        Ok(id)
    }

    /// The output of a name, which is of this type, or half as wide.
    ///
    /// # Errors
    /// As [`Program::output`]; [`Error::Shape`] where it is not.
    pub(crate) fn output_of(&self, name: &str, dtype: DType) -> Result<ValueId> {
        let id = self.output(name)?;
        let value = self.value(id);
        if !is_stored_as(value, dtype) {
            let expected = alloc::format!("{:?} {}", value.dtype, value.shape);
            return Err(Error::shape(name, expected, alloc::format!("{dtype:?}")));
        }
        Ok(id)
    }

    /// The program that computes only the given outputs: ops, weights and inputs that they do not need
    /// are gone. "The representation at layer l" of Guillotine Regularization (Bordes et al. 2022,
    /// <https://arxiv.org/abs/2206.13378>) at no cost for what lies above.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such output.
    pub fn up_to(&self, outputs: &[&str]) -> Result<Program> {
        let kept = outputs.iter().map(|name| Ok((name.to_string(), self.output(name)?))).collect::<Result<Vec<_>>>()?;
        let mut needed = alloc::vec![false; self.values.len()];
        for (_, id) in &kept {
            needed[id.index()] = true;
        }
        // What a step hands to the next is needed where the value it becomes is read. One more pass
        // per carry reaches every chain of them.
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

    /// What it needs on any device: weights and activations. A device may pad both, and adds its scratch:
    /// [`HostBackend::memory`], `Gpu::memory`.
    pub fn memory(&self) -> Memory {
        let weights = self.values.iter().filter(|value| matches!(value.role, Role::Weight(_)));
        Memory {
            weights: weights.map(Value::bytes).sum(),
            activations: self.plan.slot_bytes().iter().sum(),
            scratch: 0,
        }
    }

    /// Bytes that some ops move at least between memory and kernels: each value that an op reads or writes,
    /// once per op. An op that reads a part of a value, as a layer its slice of all layers' rows, counts all of it.
    pub fn bytes_moved(&self, ops: Range<usize>) -> u64 {
        let of_op = |op: &Op| {
            let mut ids: Vec<ValueId> = op.reads.iter().chain(&op.writes).copied().collect();
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter().map(|id| self.value(id).bytes() as u64).sum::<u64>()
        };
        self.ops[ops].iter().map(of_op).sum()
    }

    /// Multiply-adds of one run of the body.
    pub fn multiply_adds(&self) -> u64 {
        self.ops[self.body()].iter().map(|op| op.kernel.parameters().multiply_adds()).sum()
    }
}

/// Whether a value holds elements of a type, which may be stored in half precision.
fn is_stored_as(value: &Value, dtype: DType) -> bool {
    value.dtype == dtype || (value.dtype, dtype) == (DType::F16, DType::F32)
}
