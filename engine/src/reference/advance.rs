//! Twin of `advance`.

use crate::kernels::{Advance, Reads, Writes};

/// Runs [`Advance`].
pub(super) fn run(p: &Advance, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let next_state = writes.words();
    let state = p.reads(reads).state;
    next_state.copy_from_slice(state);
    next_state[0] = state[0].wrapping_add(1);
}
