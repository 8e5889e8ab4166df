//! Twin of `not_finite`.

use crate::kernels::{NotFinite, Reads, Writes};

/// The mask of a float's exponent bits.
const EXPONENT: u32 = 0x7f80_0000;

/// Runs [`NotFinite`].
pub(super) fn run(p: &NotFinite, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.words();
    let tiles = p.reads(reads).source.chunks(NotFinite::TILE);
    for (found, tile) in output.iter_mut().zip(tiles) {
        *found = u32::from(tile.iter().any(|x| x.to_bits() & EXPONENT == EXPONENT));
    }
}
