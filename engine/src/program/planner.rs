//! The assignment of values to slots of memory. Values whose lifetimes do not overlap share a slot.

use alloc::vec::Vec;

use super::{Program, Role, Value, ValueId};

/// The assignment of values to slots. Each slot is a separate buffer, as large as its largest value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    slot_of: Vec<Option<u32>>,
    slot_bytes: Vec<usize>,
}

impl Plan {
    /// Plans a program, starting with the largest values. Each value takes the smallest slot in which no
    /// other value is live at the same time (Pisarchyk and Lee 2020, <https://arxiv.org/abs/2001.03288>,
    /// greedy by size).
    ///
    /// A value is live from the op that writes it to the last op that reads it, inclusive, because an op
    /// must not write to memory that it reads. Inputs, outputs, carried values, and values that the
    /// prologue writes and the body reads are always live, each in its own slot.
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
        // The lifetimes of the values in each slot.
        let mut tenants: Vec<Vec<Life>> = Vec::new();
        for index in by_size {
            let life = lives[index];
            // Slots are created in descending order of size, so the last free slot is the smallest.
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

    /// Returns the slot of a value, or `None` for a weight.
    pub fn slot(&self, id: ValueId) -> Option<usize> {
        self.slot_of[id.index()].map(|slot| slot as usize)
    }

    /// Returns the size of each slot in bytes.
    pub fn slot_bytes(&self) -> &[usize] {
        &self.slot_bytes
    }
}

/// The lifetime of a value: the first and the last op that use it.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: usize,
    last: usize,
    always: bool,
}

impl Life {
    /// Creates the lifetime of a value before any op has been visited.
    fn of(value: &Value) -> Self {
        Life { first: 0, last: 0, always: value.role == Role::Input }
    }

    fn overlaps(self, other: Life) -> bool {
        self.always || other.always || (self.first <= other.last && other.first <= self.last)
    }
}
