//! Dispatch of `attention`.

use percept_shaders::Shader;

use super::{Dispatch, Halves, Profile, params};
use crate::kernels::Attention;

params! { "attention":
    grid_width: u32,
    workgroups: u32,
    tokens: u32,
    heads: u32,
    head_channels: u32,
    query_blocks: u32,
    channel_blocks: u32,
    pixel_stride: u32,
    head_stride: u32,
    part_stride: u32,
    query_scale: f32,
    key_scale: f32,
}

/// Queries and keys of a workgroup's tile.
const QUERIES: usize = 32;
const KEYS: usize = 64;

/// What an invocation computes.
struct Tile {
    /// Quads of queries.
    quads: usize,
    /// Keys.
    keys: usize,
    /// Quads of channels.
    columns: usize,
}

impl Tile {
    /// A workgroup takes all channels of a head, up to 256. A GPU spreads more than 64 over twice as many
    /// invocations; a CPU that plays one spends its time on loads, of which large tiles need fewer.
    fn new(head_channels: usize, profile: &Profile) -> Self {
        let narrow = !head_channels.is_multiple_of(4);
        let channels = if narrow { 64 } else { head_channels.next_multiple_of(64).min(256) };
        let quads = if profile.software { 2 } else { 1 };
        let keys = if profile.software || channels == 64 { 8 } else { 4 };
        Tile { quads, keys, columns: channels * keys / (4 * KEYS) }
    }

    /// Channels of a workgroup.
    fn channels(&self) -> usize {
        4 * KEYS / self.keys * self.columns
    }
}

/// See [`Attention`].
pub(super) fn dispatch(p: &Attention, halves: Halves, profile: &Profile) -> Dispatch {
    let d = p.head_channels;
    let tile = Tile::new(d, profile);
    let shader = Shader::new("attention")
        .with("narrow", !d.is_multiple_of(4))
        .with("half", halves.source)
        .constant("QUADS", tile.quads as u32)
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
    Dispatch::new(shader, &params, workgroups).bind(&["qkv", "output"])
}
