//! Twin of `not_finite`.

use crate::kernels::{NotFinite, Reads};

/// The bits of a float's exponent.
const EXPONENT: u32 = 0x7f80_0000;

/// See [`NotFinite`].
pub(super) fn not_finite(p: &NotFinite, reads: Reads<'_>, output: &mut [u32]) {
    let tiles = p.reads(reads).source.chunks(NotFinite::TILE);
    for (found, tile) in output.iter_mut().zip(tiles) {
        *found = u32::from(tile.iter().any(|x| x.to_bits() & EXPONENT == EXPONENT));
    }
}
