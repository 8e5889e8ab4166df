//! The numbers that shaders and the host share. A shader writes `$NAME`; the host uses the constant.

/// The number of invocations in a workgroup of most kernels.
pub const THREADS: u32 = 256;
/// The number of channels of a workgroup whose lanes share pixels.
pub const LANE_CHANNELS: u32 = 32;
/// The number of columns in a panel. On the device, a matrix `[depth, columns]` is stored as consecutive panels, each
/// `[depth, PANEL]` and row-major. The last one is padded with zeros.
pub const PANEL: u32 = 64;
/// The number of pixels in a tile of the statistics that a convolution's store can gather.
pub const STATS_TILE: u32 = 64;
/// The number of queries in a workgroup of `attention`.
pub const QUERIES: u32 = 32;
/// The number of keys in a tile of `attention`.
pub const KEY_TILE: u32 = 64;
/// The identity as an activation.
pub const IDENTITY: u32 = 0;
/// `max(x, 0)` as an activation.
pub const RELU: u32 = 1;
/// `x / (1 + exp(-x))` as an activation.
pub const SILU: u32 = 2;
/// `x Phi(x)` as an activation.
pub const GELU: u32 = 3;

/// All constants, by name.
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
