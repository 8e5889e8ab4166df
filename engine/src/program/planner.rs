//! From the lives of values to slots: values that do not live at the same time share memory.

use alloc::vec::Vec;

use super::{Program, Role, Value, ValueId};

/// Which slot holds which value. A slot is a buffer of its own, as large as its largest value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    slot_of: Vec<Option<u32>>,
    slot_bytes: Vec<usize>,
}

impl Plan {
    /// Plans a program, the largest values first: each takes the smallest slot in which nothing lives at
    /// the same time (Pisarchyk and Lee 2020, <https://arxiv.org/abs/2001.03288>, greedy by size).
    ///
    /// A value lives from the op that writes it to the last that reads it, both included: what an op
    /// writes must not lie where it reads. Inputs, outputs, what is carried from step to step and what
    /// the prologue leaves for the body live always, in slots of their own.
    pub(super) fn new(program: &Program) -> Plan {
        let mut lives: Vec<Life> = program.values.iter().map(Life::of).collect();
        for (_, id) in &program.outputs {
            lives[id.index()].always = true;
        }
        for carry in &program.carries {
            for id in [Some(carry.held), Some(carry.next), carry.start].into_iter().flatten() {
                lives[id.index()].always = true;
            }
        }
        for (index, op) in program.ops.iter().enumerate() {
            for id in &op.writes {
                (lives[id.index()].first, lives[id.index()].last) = (index, index);
            }
            for id in &op.reads {
                let life = &mut lives[id.index()];
                life.always |= life.first < program.body_start && index >= program.body_start;
                life.last = index;
            }
        }

        let is_weight = |index: usize| matches!(program.values[index].role, Role::Weight(_));
        let mut by_size: Vec<usize> = (0..program.values.len()).filter(|&index| !is_weight(index)).collect();
        by_size.sort_by_key(|&index| core::cmp::Reverse(program.values[index].bytes()));
        let mut plan = Plan { slot_of: alloc::vec![None; program.values.len()], slot_bytes: Vec::new() };
        // Who lives in each slot.
        let mut tenants: Vec<Vec<Life>> = Vec::new();
        for index in by_size {
            let life = lives[index];
            // Slots are made in order of size, so the last that is free is the smallest.
            let free = |tenants: &Vec<Life>| !tenants.iter().any(|other| life.overlaps(*other));
            let slot = tenants.iter().rposition(free).unwrap_or_else(|| {
                plan.slot_bytes.push(program.values[index].bytes());
                tenants.push(Vec::new());
                tenants.len() - 1
            });
            tenants[slot].push(life);
            plan.slot_of[index] = Some(slot as u32);
        }
        plan
    }

    /// The slot of a value; none for a weight.
    pub fn slot(&self, id: ValueId) -> Option<usize> {
        self.slot_of[id.index()].map(|slot| slot as usize)
    }

    /// Bytes of each slot.
    pub fn slot_bytes(&self) -> &[usize] {
        &self.slot_bytes
    }
}

/// From which op to which a value lives.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: usize,
    last: usize,
    always: bool,
}

impl Life {
    /// Of a value that no op has been seen to touch yet.
    fn of(value: &Value) -> Self {
        Life { first: 0, last: 0, always: value.role == Role::Input }
    }

    fn overlaps(self, other: Life) -> bool {
        self.always || other.always || (self.first <= other.last && other.first <= self.last)
    }
}
