//! The builder of a [`Program`].

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Carry, Op, Plan, Program, Role, Value, ValueId};
use crate::kernels::{Kernel, MAX_BINDINGS};
use crate::tensor::{DType, Precision, Shape};
use crate::weights::Recipe;
use crate::{Error, Result};

/// A builder of programs. Model functions add values and ops to it, layer by layer.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    values: Vec<Value>,
    ops: Vec<Op>,
    outputs: Vec<(String, ValueId)>,
    body_start: usize,
    carries: Vec<Carry>,
}

impl Graph {
    /// Creates an empty graph.
    pub fn new() -> Self {
        Graph::default()
    }

    /// Adds an `f32` value that the host writes.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> ValueId {
        self.value(name, shape.into(), DType::F32, Role::Input)
    }

    /// Adds a `u32` value that the host writes.
    pub fn input_u32(&mut self, name: &str, shape: impl Into<Shape>) -> ValueId {
        self.value(name, shape.into(), DType::U32, Role::Input)
    }

    /// Adds a value that is made from tensors of a model file.
    pub fn weight(&mut self, recipe: Recipe) -> ValueId {
        self.value(&recipe.name(), recipe.shape(), DType::F32, Role::Weight(recipe))
    }

    fn value(&mut self, name: &str, shape: Shape, dtype: DType, role: Role) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { name: name.to_string(), shape, dtype, role });
        id
    }

    /// Returns the shape of a value.
    pub fn shape(&self, id: ValueId) -> Shape {
        self.values[id.index()].shape
    }

    /// Returns the shape of an image `[n, h, w, c]`.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if the value does not have four dimensions.
    pub fn image_shape(&self, id: ValueId) -> Result<[usize; 4]> {
        let value = &self.values[id.index()];
        (&*value.shape).try_into().map_err(|_| Error::shape(&value.name, "[n, h, w, c]", value.shape))
    }

    /// Adds an op, creates the values that it writes, and returns them in binding order.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if the kernel's parameters are invalid, if the number of `reads` is
    /// not the number of buffers that the kernel reads, if the kernel binds more than [`MAX_BINDINGS`]
    /// buffers, or if the type or shape of a value does not match its binding. Shapes may differ in
    /// dimensions of length 1.
    pub fn op(&mut self, layer: &str, kernel: impl Into<Kernel>, reads: &[ValueId]) -> Result<Vec<ValueId>> {
        let kernel = kernel.into();
        kernel.parameters().check(layer)?;
        let bindings = kernel.parameters().bindings();
        let (written, read): (Vec<_>, Vec<_>) = bindings.into_iter().partition(|binding| binding.written);
        let at = alloc::format!("{layer} ({})", kernel.name());
        if read.len() != reads.len() || read.len() + written.len() > MAX_BINDINGS {
            let expected = alloc::format!("{} values to read, at most {MAX_BINDINGS} buffers in all", read.len());
            return Err(Error::shape(at, expected, reads.len()));
        }
        for (binding, id) in read.iter().zip(reads) {
            let value = &self.values[id.index()];
            if !binding.shape.is_same_but_for_ones(value.shape) || binding.dtype != value.dtype {
                return Err(Error::shape(
                    alloc::format!("{at} {}", binding.name),
                    alloc::format!("{:?} {}", binding.dtype, binding.shape),
                    alloc::format!("{:?} {} from {}", value.dtype, value.shape, value.name),
                ));
            }
        }
        let writes: Vec<ValueId> =
            written.iter().map(|binding| self.value(layer, binding.shape, binding.dtype, Role::Activation)).collect();
        self.ops.push(Op { layer: layer.to_string(), kernel, reads: reads.to_vec(), writes: writes.clone() });
        Ok(writes)
    }

    /// Adds an op that writes one value, and returns that value.
    ///
    /// # Errors
    /// Returns the errors of [`Graph::op`].
    pub fn op1(&mut self, layer: &str, kernel: impl Into<Kernel>, reads: &[ValueId]) -> Result<ValueId> {
        Ok(self.op(layer, kernel, reads)?[0])
    }

    /// Makes a value readable under `name` after a run.
    pub fn output(&mut self, name: &str, id: ValueId) {
        self.outputs.push((name.to_string(), id));
    }

    /// Ends the prologue. The ops added so far run once; the ops added later run once per step.
    pub fn begin_body(&mut self) {
        self.body_start = self.ops.len();
    }

    /// Carries a value from step to step: the following step reads the value written to `next` as the
    /// input `held`. The first step reads the value that the prologue writes to `start`, or, if `start`
    /// is `None`, the value that the host writes to `held`.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if the values differ in shape or type, if `held` is not an input, or if
    /// `next` or `start` is not the result of an op. Returns [`Error::Config`] if one of them is already
    /// part of a carry.
    pub fn carry(&mut self, held: ValueId, next: ValueId, start: Option<ValueId>) -> Result<()> {
        let to = &self.values[held.index()];
        for id in [Some(next), start].into_iter().flatten() {
            let from = &self.values[id.index()];
            if (from.shape, from.dtype, &from.role) != (to.shape, to.dtype, &Role::Activation) || to.role != Role::Input
            {
                let expected = alloc::format!("an op's result of {:?} {} for an input", to.dtype, to.shape);
                return Err(Error::shape(&to.name, expected, alloc::format!("{:?} {}", from.dtype, from.shape)));
            }
        }
        let ends = |carry: &Carry| [Some(carry.held), Some(carry.next), carry.start];
        let twice = self
            .carries
            .iter()
            .flat_map(ends)
            .flatten()
            .find(|id| ends(&Carry { held, next, start }).contains(&Some(*id)));
        if let Some(id) = twice {
            return Err(Error::config("carry", "values that are carried once", &self.values[id.index()].name));
        }
        self.carries.push(Carry { held, next, start });
        Ok(())
    }

    /// Finishes the program, keeping only the ops that its outputs need.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if there is no output, or if two outputs or two inputs have the same
    /// name. Returns [`Error::Shape`] if a value has more elements than a kernel can index.
    pub fn finish(self) -> Result<Program> {
        let Graph { values, ops, outputs, body_start, carries } = self;
        let names: Vec<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
        if names.is_empty() || twice.is_some() {
            let got = twice.map_or("none".to_string(), |(_, name)| alloc::format!("two called {name}"));
            return Err(Error::config("outputs of a program", "one or more, each of its own name", got));
        }
        for (index, value) in values.iter().enumerate() {
            Shape::new(&value.shape).map_err(|error| error.within(&value.name))?;
            let is_twin = |other: &Value| (&other.role, &other.name) == (&Role::Input, &value.name);
            if value.role == Role::Input && values[..index].iter().any(is_twin) {
                return Err(Error::config("inputs of a program", "each of its own name", &value.name));
            }
        }
        let (plan, precision) = (Plan::default(), Precision::F32);
        Program { values, ops, outputs, body_start, carries, plan, precision }.up_to(&names)
    }
}
