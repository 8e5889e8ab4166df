//! Twin of `advance`.

use crate::kernels::{Advance, Reads};

/// See [`Advance`].
pub(super) fn advance(p: &Advance, reads: Reads<'_>, next_state: &mut [u32]) {
    let state = p.reads(reads).state;
    next_state.copy_from_slice(state);
    next_state[0] = state[0].wrapping_add(1);
}
