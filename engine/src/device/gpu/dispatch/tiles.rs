//! The choice of a convolution's tile, and of the number of parts that its sums are split into.
//!
//! Both depend on the shape of one image and on the device, but never on the batch. The way a sum is split determines
//! how it is rounded, and a sample must not depend on the size of its batch.

use percept_shaders::Tile;

use super::shared::{Capabilities, PANEL};

/// The number of workgroups per image that keeps a device busy. If the large tile yields fewer, the medium tile is
/// used, and if that yields fewer as well, sums are split.
const ENOUGH: usize = 128;
/// The minimum number of terms in a part of a sum, so that the cost of storing and adding the part stays small.
const LEAST_DEPTH: usize = 128;

/// Returns the tile for the product of `pixels` pixels of one image and `columns` columns, and the number of parts
/// that each sum of `depth` terms is split into.
pub(super) fn tile(pixels: usize, columns: usize, depth: usize, capabilities: &Capabilities) -> (Tile, usize) {
    let count = |tile: Tile| pixels.div_ceil(tile.pixels() as usize) * columns.div_ceil(tile.columns() as usize);
    // A large tile spans two panels of columns.
    let fills_large = columns.div_ceil(PANEL).is_multiple_of(2) && count(Tile::LARGE) >= ENOUGH;
    let tile = match columns {
        0..=8 => Tile::NARROW,
        9..=32 => Tile::SMALL,
        _ if fills_large => Tile::LARGE,
        _ => Tile::MEDIUM,
    };
    // The partial results of one sample must fit in a binding.
    let fitting = capabilities.max_binding_bytes / 4 / (pixels * columns.next_multiple_of(4));
    (tile, (ENOUGH / count(tile)).min(depth / LEAST_DEPTH).min(fitting).max(1))
}
