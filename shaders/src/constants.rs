//! Numbers that shaders and the host share. A shader writes `$NAME`, the host uses the constant.

/// Invocations of a workgroup of most kernels.
pub const THREADS: u32 = 256;
/// Channels of a workgroup whose lanes share pixels.
pub const LANE_CHANNELS: u32 = 32;
/// How a matrix `[depth, columns]` lies on the device: panels of this many columns, one after the other, each
/// `[depth, PANEL]` and row-major; the last one is filled up with zeros.
pub const PANEL: u32 = 64;
/// Pixels of a tile of the statistics that a convolution's store can gather.
pub const STATS_TILE: u32 = 64;
/// Queries of a workgroup of `attention`.
pub const QUERIES: u32 = 32;
/// Keys of a tile of `attention`.
pub const KEY_TILE: u32 = 64;
/// The identity as an activation.
pub const IDENTITY: u32 = 0;
/// `max(x, 0)` as an activation.
pub const RELU: u32 = 1;
/// `x / (1 + exp(-x))` as an activation.
pub const SILU: u32 = 2;
/// `x Phi(x)` as an activation.
pub const GELU: u32 = 3;

/// All of them, by name.
pub(crate) const CONSTANTS: &[(&str, u32)] = &[
    ("THREADS", THREADS),
    ("LANE_CHANNELS", LANE_CHANNELS),
    ("PANEL", PANEL),
    ("STATS_TILE", STATS_TILE),
    ("QUERIES", QUERIES),
    ("KEY_TILE", KEY_TILE),
    ("IDENTITY", IDENTITY),
    ("RELU", RELU),
    ("SILU", SILU),
    ("GELU", GELU),
];
