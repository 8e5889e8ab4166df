//! From the lives of values to slots: values that do not live at the same time share memory.

use alloc::vec::Vec;

use super::{Program, Role, ValueId};

/// Which slot holds which value. A slot is a buffer of its own, as large as its largest value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    slot_of: Vec<Option<u32>>,
    slot_bytes: Vec<usize>,
}

impl Plan {
    /// Plans a program: first come, best fit.
    ///
    /// A value lives from the op that writes it to the last that reads it. Inputs, outputs, what is
    /// carried from step to step and what the prologue leaves for the body live always.
    pub(super) fn new(program: &Program) -> Plan {
        let mut last_use: Vec<usize> = alloc::vec![0; program.values.len()];
        let mut lives_always: Vec<bool> = program.values.iter().map(|value| value.role == Role::Input).collect();
        for (_, id) in &program.outputs {
            lives_always[id.index()] = true;
        }
        for carry in &program.carries {
            for id in [Some(carry.held), Some(carry.next), carry.start].into_iter().flatten() {
                lives_always[id.index()] = true;
            }
        }
        let mut written_in_prologue = alloc::vec![false; program.values.len()];
        for (index, op) in program.ops.iter().enumerate() {
            for id in &op.writes {
                written_in_prologue[id.index()] = index < program.body_start;
                last_use[id.index()] = index;
            }
            for id in &op.reads {
                last_use[id.index()] = index;
                lives_always[id.index()] |= index >= program.body_start && written_in_prologue[id.index()];
            }
        }

        let mut plan = Plan { slot_of: alloc::vec![None; program.values.len()], slot_bytes: Vec::new() };
        for (index, value) in program.values.iter().enumerate() {
            if lives_always[index] && !matches!(value.role, Role::Weight(_)) {
                plan.slot_of[index] = Some(plan.new_slot(value.bytes()));
            }
        }
        let mut free: Vec<u32> = Vec::new();
        for (index, op) in program.ops.iter().enumerate() {
            for id in &op.writes {
                if plan.slot_of[id.index()].is_none() {
                    plan.slot_of[id.index()] = Some(plan.take(&mut free, program.value(*id).bytes()));
                }
            }
            // Freed only now: what an op writes must not lie where it reads.
            for (place, id) in op.reads.iter().chain(&op.writes).enumerate() {
                let seen_before = op.reads.iter().chain(&op.writes).take(place).any(|other| other == id);
                let temporary = program.value(*id).role == Role::Activation && !lives_always[id.index()];
                if temporary && !seen_before && last_use[id.index()] == index {
                    free.extend(plan.slot_of[id.index()]);
                }
            }
        }
        plan
    }

    fn new_slot(&mut self, bytes: usize) -> u32 {
        self.slot_bytes.push(bytes);
        self.slot_bytes.len() as u32 - 1
    }

    /// The smallest free slot that is large enough, else the largest free one, enlarged, else a new one.
    fn take(&mut self, free: &mut Vec<u32>, bytes: usize) -> u32 {
        let size = |slot: u32| self.slot_bytes[slot as usize];
        let fitting =
            free.iter().enumerate().filter(|&(_, &slot)| size(slot) >= bytes).min_by_key(|&(_, &slot)| size(slot));
        let best = fitting.or_else(|| free.iter().enumerate().max_by_key(|&(_, &slot)| size(slot)));
        match best.map(|(place, _)| place) {
            Some(place) => {
                let slot = free.swap_remove(place);
                self.slot_bytes[slot as usize] = self.slot_bytes[slot as usize].max(bytes);
                slot
            }
            None => self.new_slot(bytes),
        }
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
