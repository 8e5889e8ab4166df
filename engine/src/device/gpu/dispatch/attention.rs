//! Dispatch of `attention`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Attention as Params;

use super::shared::{Dispatch, Target};
use crate::kernels::Attention;

/// The number of queries and keys in a workgroup's tile.
const QUERIES: usize = percept_shaders::QUERIES as usize;
const KEYS: usize = percept_shaders::KEY_TILE as usize;

/// The part of the result that one invocation computes.
struct Tile {
    /// The number of keys.
    keys: usize,
    /// The number of channels, in groups of four.
    columns: usize,
}

impl Tile {
    /// Chooses the tile. A workgroup computes all channels of a head, up to 256. More than 64 channels are spread over
    /// twice as many invocations.
    fn new(head_channels: usize) -> Self {
        let narrow = !head_channels.is_multiple_of(4);
        let channels = if narrow { 64 } else { head_channels.next_multiple_of(64).min(256) };
        let keys = if channels == 64 { 8 } else { 4 };
        Tile { keys, columns: channels * keys / (4 * KEYS) }
    }

    /// Returns the number of channels of a workgroup.
    fn channels(&self) -> usize {
        4 * KEYS / self.keys * self.columns
    }
}

/// Returns the dispatch of [`Attention`].
pub(super) fn dispatches(p: &Attention, target: Target<'_>) -> Vec<Dispatch> {
    let d = p.head_channels;
    let tile = Tile::new(d);
    let shader = Shader::new("attention")
        .with("narrow", !d.is_multiple_of(4))
        .with("half", target.halves.source)
        .constant("KEYS", tile.keys as u32)
        .constant("COLUMNS", tile.columns as u32);
    let [query_blocks, channel_blocks] = [p.tokens().div_ceil(QUERIES), d.div_ceil(tile.channels())];
    let workgroups = p.batch * p.heads * query_blocks * channel_blocks;
    let [first, ..] = p.offsets(0);
    let [query, key, _] = p.offsets(p.heads - 1);
    let scale = 1.0 / libm::sqrt(libm::sqrt(d as f64));
    let params = Params {
        grid_width: 0,
        workgroups: workgroups as u32,
        tokens: p.tokens() as u32,
        heads: p.heads as u32,
        head_channels: d as u32,
        query_blocks: query_blocks as u32,
        channel_blocks: channel_blocks as u32,
        pixel_stride: (3 * p.channels()) as u32,
        head_stride: ((query - first) / (p.heads - 1).max(1)) as u32,
        part_stride: (key - query) as u32,
        query_scale: (scale * core::f64::consts::LOG2_E) as f32,
        key_scale: scale as f32,
    };
    Vec::from([Dispatch::new(shader, &params, workgroups).bind(&["qkv", "output"])])
}
