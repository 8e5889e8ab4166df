// group_affine: a group norm as a gain and a bias per (sample, channel), with optional FiLM.
//
//   y = (x - mean[n, g]) / sqrt(var[n, g] + eps) * gamma[c] + beta[c]
//
// A workgroup merges the statistics of one group of one sample, which are per channel and tile.

struct Params {
    grid_width: u32,
    batch: u32,
    pixels: u32,
    // The number of pixels of a tile of the statistics. The last tile may have fewer.
    tile: u32,
    tiles: u32,
    // The number of channels of the first and of the second source.
    first: u32,
    second_channels: u32,
    groups: u32,
    // The length of a sample's row of `film`, and the offset of the 2 * channels elements in it.
    film_length: u32,
    film_offset: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> stats: array<f32>; // [n, tiles, 2, first]
#if second
@group(0) @binding(2) var<storage, read> second: array<f32>; // [n, tiles, 2, second_channels]
#end
@group(0) @binding(3) var<storage, read> gamma: array<f32>; // [channels]
@group(0) @binding(4) var<storage, read> beta: array<f32>; // [channels]
#if film
@group(0) @binding(5) var<storage, read> film: array<f32>; // [n, film_length]
#end
@group(0) @binding(6) var<storage, read_write> output: array<f32>; // [n, 2 * channels]

#import grid.wgsl
#import total.wgsl

// Returns the mean (0) or M2 (1) of a channel of both sources in a tile. The row is n * tiles + tile.
fn moment(row: u32, which: u32, c: u32) -> f32 {
#if second
    if c >= params.first {
        return second[(row * 2u + which) * params.second_channels + c - params.first];
    }
#end
    return stats[(row * 2u + which) * params.first + c];
}

fn pixels_of(tile: u32) -> f32 {
    return f32(min(params.tile, params.pixels - tile * params.tile));
}

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup_index(workgroup);
    if index >= params.batch * params.groups {
        return;
    }
    let n = index / params.groups;
    let channels = params.first + params.second_channels;
    let members = channels / params.groups;
    let first_member = index % params.groups * members;

    // Channels are innermost, so that adjacent invocations load adjacent elements.
    let parts = params.tiles * members;
    let count = f32(params.pixels) * f32(members);
    var sum = 0.0;
    for (var i = local; i < parts; i += STEP) {
        let tile = i / members;
        sum += pixels_of(tile) * moment(n * params.tiles + tile, 0u, first_member + i % members);
    }
    let mean = total(local, sum) / count;

    // Chan, Golub and LeVeque 1979, for all parts at once, because the mean is already known.
    var m2 = 0.0;
    for (var i = local; i < parts; i += STEP) {
        let tile = i / members;
        let row = n * params.tiles + tile;
        let c = first_member + i % members;
        let delta = moment(row, 0u, c) - mean;
        m2 += moment(row, 1u, c) + pixels_of(tile) * delta * delta;
    }
    let deviation = sqrt(total(local, m2) / count + params.eps);

    for (var i = local; i < members; i += STEP) {
        let c = first_member + i;
        var scale = gamma[c] / deviation;
        var shift = beta[c] - mean * scale;
#if film
        let s = n * params.film_length + params.film_offset + c;
        let gain = 1.0 + film[s];
        scale *= gain;
        shift = shift * gain + film[s + channels];
#end
        output[n * 2u * channels + c] = scale;
        output[n * 2u * channels + channels + c] = shift;
    }
}
