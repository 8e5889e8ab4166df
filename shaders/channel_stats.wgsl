// channel_stats: the mean and M2, the sum of squared differences from the mean, of every channel in every tile of
// pixels.
//
// A workgroup computes 32 channels of a tile. It reads the pixels twice, the second time from the cache: the sum of
// squares minus the squared sum would lose a small variance next to a large mean.

struct Params {
    grid_width: u32,
    batch: u32,
    // The number of pixels of a sample, and of a tile. The last tile may have fewer.
    pixels: u32,
    tile: u32,
    tiles: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Source>; // [n, pixels, channels]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [n, tiles, 2, channels]

#import grid.wgsl
#import lanes.wgsl
#if half
#import half.wgsl
alias Source = Half4;
#else
alias Source = f32;
#end

fn load(i: u32) -> f32 {
#if half
    return widen(source[i / 4u])[i % 4u];
#else
    return source[i];
#end
}

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let channels = params.channels;
    let blocks = (channels + CHANNELS - 1u) / CHANNELS;
    let index = workgroup_index(workgroup);
    // The index of the sample's tile: n * tiles + tile.
    let row = index / blocks;
    if row >= params.batch * params.tiles {
        return;
    }
    let c = index % blocks * CHANNELS + local % CHANNELS;
    let lane = local / CHANNELS;
    let first = row % params.tiles * params.tile;
    let count = min(params.tile, params.pixels - first);
    // Invocations without a channel read no pixels, but must still reach the barriers.
    let begin = select(count, lane, c < channels);
    let tile = (row / params.tiles * params.pixels + first) * channels + c;

    var sum = 0.0;
    for (var pixel = begin; pixel < count; pixel += LANES) {
        sum += load(tile + pixel * channels);
    }
    let mean = sum_of_lanes(local, sum) / f32(count);

    var squares = 0.0;
    for (var pixel = begin; pixel < count; pixel += LANES) {
        let delta = load(tile + pixel * channels) - mean;
        squares += delta * delta;
    }
    let m2 = sum_of_lanes(local, squares);

    if lane == 0u && c < channels {
        output[row * 2u * channels + c] = mean;
        output[(row * 2u + 1u) * channels + c] = m2;
    }
}
