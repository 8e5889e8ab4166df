//! Which tile a convolution's product is cut into, and into how many parts its sums are split.
//!
//! Both depend on the shape of one image and on the device, never on the batch: how a sum is split decides how it
//! is rounded, and a picture must not depend on how many are made with it.

use percept_shaders::Tile;

use super::{PANEL, Profile};

/// Workgroups of one image that keep a device busy. With fewer of the large tile the medium one is taken, and with
/// fewer of that, sums are split.
const ENOUGH: usize = 128;
/// Terms that a part of a sum has at least, so that storing and adding it up stays small beside it.
const LEAST_DEPTH: usize = 128;

/// The tile for a product of so many pixels of one image by so many columns, and the number of parts that
/// each sum of `depth` terms is split into.
pub(super) fn tile(pixels: usize, columns: usize, depth: usize, profile: &Profile) -> (Tile, usize) {
    let count = |tile: Tile| pixels.div_ceil(tile.pixels() as usize) * columns.div_ceil(tile.columns() as usize);
    // A large tile has two panels of columns.
    let fills_large = columns.div_ceil(PANEL).is_multiple_of(2) && count(Tile::LARGE) >= ENOUGH;
    let tile = match columns {
        _ if profile.subgroups => Tile::SUBGROUPS,
        0..=8 => Tile::NARROW,
        9..=32 => Tile::SMALL,
        _ if fills_large => Tile::LARGE,
        _ => Tile::MEDIUM,
    };
    if profile.software {
        return (tile, 1);
    }
    // A sample's parts fit a binding.
    let fitting = profile.max_binding_bytes / 4 / (pixels * columns.next_multiple_of(4));
    (tile, (ENOUGH / count(tile)).min(depth / LEAST_DEPTH).min(fitting).max(1))
}
