//! Dispatch of `channel_stats`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::ChannelStats as Params;

use super::shared::{Dispatch, LANE_CHANNELS, Target};
use crate::kernels::ChannelStats;

/// Returns the dispatch of [`ChannelStats`].
pub(super) fn dispatches(p: &ChannelStats, target: Target<'_>) -> Vec<Dispatch> {
    let half = target.halves.source;
    let params = Params {
        grid_width: 0,
        batch: p.batch as u32,
        pixels: (p.height * p.width) as u32,
        tile: p.tile as u32,
        tiles: p.tiles() as u32,
        channels: p.channels as u32,
    };
    let workgroups = p.batch * p.tiles() * p.channels.div_ceil(LANE_CHANNELS);
    Vec::from([
        Dispatch::new(Shader::new("channel_stats").with("half", half), &params, workgroups).bind(&["source", "output"])
    ])
}
