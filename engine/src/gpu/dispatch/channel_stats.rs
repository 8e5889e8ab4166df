//! Dispatch of `channel_stats`.

use percept_shaders::Shader;

use super::{Dispatch, LANE_CHANNELS, params};
use crate::kernels::ChannelStats;

params! { "channel_stats":
    grid_width: u32,
    batch: u32,
    pixels: u32,
    tile: u32,
    tiles: u32,
    channels: u32,
}

/// See [`ChannelStats`].
pub(super) fn dispatch(p: &ChannelStats, half: bool) -> Dispatch {
    let params = Params {
        grid_width: 0,
        batch: p.batch as u32,
        pixels: (p.height * p.width) as u32,
        tile: p.tile as u32,
        tiles: p.tiles() as u32,
        channels: p.channels as u32,
    };
    let workgroups = p.batch * p.tiles() * p.channels.div_ceil(LANE_CHANNELS);
    Dispatch::new(Shader::new("channel_stats").with("half", half), &params, workgroups).bind(&["source", "output"])
}
