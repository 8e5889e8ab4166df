//! The choice of the values of a program that are stored in half precision.

use alloc::vec::Vec;

use super::{Op, Program, Role, ValueId};
use crate::kernels::{Binding, Half};
use crate::tensor::{DType, Precision};
use crate::weights::Recipe;

impl Program {
    /// Returns the buffers of one of the program's ops, in binding order, with the types of the values bound to them.
    pub fn bindings(&self, op: &Op) -> Vec<Binding> {
        let bindings = op.kernel.parameters().bindings().into_iter();
        let typed = |(binding, id): (Binding, &ValueId)| Binding { dtype: self.value(*id).dtype, ..binding };
        bindings.zip(op.reads.iter().chain(&op.writes)).map(typed).collect()
    }

    /// Returns the same program with its values stored in `precision`.
    ///
    /// In [`Precision::F16`], a value is stored in half precision if every kernel that uses it supports this, and if
    /// the same holds for all values that must have its type. These are matrices, and activations between layers
    /// whose number of channels is a multiple of four. Values that a sampler or a linear layer with few rows reads,
    /// images, and results that nothing reads stay `f32`.
    pub fn stored_in(&self, precision: Precision) -> Program {
        let mut program = Program { precision, ..self.clone() };
        let is_half =
            if precision == Precision::F16 { self.half_values() } else { alloc::vec![false; self.values.len()] };
        for (value, is_half) in program.values.iter_mut().zip(is_half) {
            value.dtype = match (value.dtype, is_half) {
                (DType::U32, _) => DType::U32,
                (_, true) => DType::F16,
                (_, false) => DType::F32,
            };
        }
        program.planned()
    }

    /// Returns the precision that the values are stored in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns, for each value, true if it is to be stored in half precision.
    fn half_values(&self) -> Vec<bool> {
        let mut classes = Classes { parents: (0..self.values.len()).collect() };
        let mut can: Vec<bool> = self.values.iter().map(|value| is_matrix_or_no_weight(&value.role)).collect();
        let mut is_read = alloc::vec![false; self.values.len()];
        for carry in &self.carries {
            [Some(carry.held), Some(carry.next), carry.start]
                .into_iter()
                .flatten()
                .for_each(|id| can[id.index()] = false);
        }
        for op in &self.ops {
            let mut first: [(Half, Option<usize>); 3] =
                [Half::Source, Half::Result, Half::Weight].map(|half| (half, None));
            let bindings = op.kernel.parameters().bindings();
            for (binding, id) in bindings.iter().zip(op.reads.iter().chain(&op.writes)) {
                is_read[id.index()] |= !binding.written;
                match first.iter_mut().find(|(half, _)| binding.half == Some(*half)) {
                    Some((_, Some(other))) => classes.join(*other, id.index()),
                    Some((_, none)) => *none = Some(id.index()),
                    None => can[id.index()] = false,
                }
            }
        }
        // Either all values of a class are stored in half precision or none, and none if no op reads any of them.
        let roots: Vec<usize> = (0..self.values.len()).map(|index| classes.root(index)).collect();
        let [mut all, mut any] = [alloc::vec![true; roots.len()], alloc::vec![false; roots.len()]];
        for (index, &root) in roots.iter().enumerate() {
            all[root] &= can[index];
            any[root] |= is_read[index];
        }
        roots.into_iter().map(|root| all[root] && any[root]).collect()
    }
}

fn is_matrix_or_no_weight(role: &Role) -> bool {
    !matches!(role, Role::Weight(recipe) if !matches!(recipe, Recipe::Matrix { .. }))
}

/// Classes of values that must have the same type, as a disjoint-set forest in which each tree is a class.
struct Classes {
    parents: Vec<usize>,
}

impl Classes {
    fn root(&self, mut index: usize) -> usize {
        while self.parents[index] != index {
            index = self.parents[index];
        }
        index
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The value with the lower index becomes the root.
        self.parents[a.max(b)] = a.min(b);
    }
}
