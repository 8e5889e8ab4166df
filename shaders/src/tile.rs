//! The tiles of `conv`.

use crate::shader::Shader;

/// The part of a convolution's matrix product that a workgroup and a thread compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The number of fours of pixels per thread.
    pub rows4: u32,
    /// The number of fours of columns per thread.
    pub cols4: u32,
    /// The number of threads along the pixels.
    pub threads_m: u32,
    /// The number of threads along the columns.
    pub threads_n: u32,
    /// The number of terms in workgroup memory at once.
    pub depth: u32,
}

impl Tile {
    /// For products with enough tiles to fill a device: the most multiply-adds per byte.
    pub const LARGE: Tile = Tile { rows4: 2, cols4: 2, threads_m: 16, threads_n: 16, depth: 16 };
    /// For most products.
    pub const MEDIUM: Tile = Tile { rows4: 2, cols4: 2, threads_m: 8, threads_n: 8, depth: 16 };
    /// For results of up to 32 channels.
    pub const SMALL: Tile = Tile { rows4: 2, cols4: 1, threads_m: 8, threads_n: 8, depth: 16 };
    /// For results of up to 8 channels, such as colours.
    pub const NARROW: Tile = Tile { rows4: 1, cols4: 1, threads_m: 32, threads_n: 2, depth: 16 };
    /// For adding up split sums: adjacent threads read 64 bytes.
    pub const REDUCE: Tile = Tile { rows4: 1, cols4: 1, threads_m: 16, threads_n: 4, depth: 0 };
    /// All tiles that products are computed with.
    pub const PRODUCTS: [Tile; 4] = [Tile::LARGE, Tile::MEDIUM, Tile::SMALL, Tile::NARROW];

    /// Returns the number of pixels per workgroup.
    pub const fn pixels(&self) -> u32 {
        4 * self.rows4 * self.threads_m
    }

    /// Returns the number of columns per workgroup.
    pub const fn columns(&self) -> u32 {
        4 * self.cols4 * self.threads_n
    }

    /// True if a store can gather statistics, which cover 64 pixels each.
    pub const fn gathers_stats(&self) -> bool {
        self.pixels().is_multiple_of(64)
    }

    /// Returns the shader of the convolution with this tile.
    pub fn shader(&self) -> Shader {
        let threads = self.threads_m * self.threads_n;
        let shader = Shader::new("conv")
            .constant("ROWS4", self.rows4)
            .constant("COLS4", self.cols4)
            .constant("THREADS_M", self.threads_m)
            .constant("THREADS_N", self.threads_n);
        match *self {
            Tile::REDUCE => shader.with("reduce", true),
            _ => shader
                .constant("DEPTH", self.depth)
                .constant("A_LOADS", (self.pixels() / 4 * self.depth / 4).div_ceil(threads))
                .constant("B_LOADS", (self.columns() / 4 * self.depth).div_ceil(threads)),
        }
    }
}
