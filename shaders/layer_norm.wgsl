// layer_norm: tokens normalised over their channels.
//
//   y = (x - mean[n, t]) / sqrt(var[n, t] + eps) * gamma[c] + beta[c]
//
// A workgroup normalises a token. It goes over the channels three times, for the mean, for the squared differences
// from it and for the result, the last two through the cache: a sum of squares less a square of a sum would lose the
// spread beside a large mean. On a CPU that plays a GPU, where barriers cost more than the sums, an invocation
// normalises a token alone (`alone`).

struct Params {
    grid_width: u32,
    // Tokens that are normalised, of all samples.
    rows: u32,
    // Tokens of a sample; the first of them that is normalised, and how many are.
    tokens: u32,
    first: u32,
    count: u32,
    channels: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>; // [n, tokens, channels]
@group(0) @binding(2) var<storage, read> gamma: array<f32>; // [channels]
@group(0) @binding(3) var<storage, read> beta: array<f32>; // [channels]
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // [n, count, channels]

#import grid.wgsl
#import total.wgsl

#if alone
@compute @workgroup_size(32)
#else
@compute @workgroup_size(256)
#end
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
#if alone
    let row = workgroup_index(workgroup) * 32u + local;
    let begin = 0u;
#else
    let row = workgroup_index(workgroup);
    let begin = local;
#end
    if row >= params.rows {
        return;
    }
    let channels = params.channels;
    let token = (row / params.count * params.tokens + params.first + row % params.count) * channels;

    var sum = 0.0;
    for (var c = begin; c < channels; c += STEP) {
        sum += source[token + c];
    }
    let mean = total(local, sum) / f32(channels);

    var squares = 0.0;
    for (var c = begin; c < channels; c += STEP) {
        let delta = source[token + c] - mean;
        squares += delta * delta;
    }
    let deviation = sqrt(total(local, squares) / f32(channels) + params.eps);

    for (var c = begin; c < channels; c += STEP) {
        output[row * channels + c] = (source[token + c] - mean) / deviation * gamma[c] + beta[c];
    }
}
