//! Which tile a convolution's product is cut into, and into how many parts its sums are split.
//!
//! Both depend on the shape of one image and on the class of the device, never on the batch: how a sum is split
//! decides how it is rounded, and a picture must not depend on how many are made with it.

use percept_shaders::Tile;

use super::Profile;

/// Workgroups of one image that keep a device busy; with fewer of the large tile the medium one is taken, and with
/// fewer of that the sums are split.
const ENOUGH: usize = 128;
/// Terms that a part of a sum has at least, so that its storing and adding up stays small beside it.
const LEAST_DEPTH: usize = 128;

/// The tile for a product of so many pixels of one image by so many columns, and the number of parts that
/// each sum of `depth` terms is split into.
pub(super) fn tile(pixels: usize, columns: usize, depth: usize, profile: &Profile) -> (Tile, usize) {
    let count = |tile: Tile| pixels.div_ceil(tile.pixels() as usize) * columns.div_ceil(tile.columns() as usize);
    let tile = match columns {
        0..=8 => Tile::NARROW,
        9..=32 => Tile::SMALL,
        _ if count(Tile::LARGE) >= ENOUGH => Tile::LARGE,
        _ => Tile::MEDIUM,
    };
    if profile.software {
        return (tile, 1);
    }
    (tile, (ENOUGH / count(tile)).min(depth / LEAST_DEPTH).max(1))
}
