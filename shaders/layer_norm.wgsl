// layer_norm: normalises tokens over their channels.
//
//   y = (x - mean[n, t]) / sqrt(var[n, t] + eps) * gamma[c] + beta[c]
//
// A workgroup normalises one token. It reads the channels three times: for the mean, for the squared differences from
// it, and for the result. The last two reads come from the cache. The sum of squares minus the squared sum would
// lose a small variance next to a large mean. The source may be in half precision (`half`), and the result as well
// (`half_out`).

struct Params {
    grid_width: u32,
    // The number of normalised tokens of all samples.
    rows: u32,
    // The number of tokens of a sample, the first normalised one, and the number of normalised ones.
    tokens: u32,
    first: u32,
    count: u32,
    channels: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Stored>; // [n, tokens, channels]
@group(0) @binding(2) var<storage, read> gamma: array<Value>; // [channels]
@group(0) @binding(3) var<storage, read> beta: array<Value>; // [channels]
@group(0) @binding(4) var<storage, read_write> output: array<Output>; // [n, count, channels]

#import fours.wgsl
#import grid.wgsl
#import total.wgsl

#if half
const WIDTH = 4u;

fn added_up(value: Value) -> f32 {
    return dot(value, vec4(1.0));
}
#else
const WIDTH = 1u;

fn added_up(value: Value) -> f32 {
    return value;
}
#end
#if half_out
alias Output = Half4;

fn as_output(value: Value) -> Output {
    return narrow(value);
}
#else
alias Output = Value;

fn as_output(value: Value) -> Output {
    return value;
}
#end

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup_index(workgroup);
    if row >= params.rows {
        return;
    }
    let channels = params.channels;
    let token = (row / params.count * params.tokens + params.first + row % params.count) * channels;

    var sum = Value();
    for (var c = local; c < channels; c += STEP) {
        sum += load(source[token + c]);
    }
    let mean = total(local, added_up(sum)) / f32(WIDTH * channels);

    var squares = Value();
    for (var c = local; c < channels; c += STEP) {
        let delta = load(source[token + c]) - mean;
        squares += delta * delta;
    }
    let deviation = sqrt(total(local, added_up(squares)) / f32(WIDTH * channels) + params.eps);

    for (var c = local; c < channels; c += STEP) {
        let normalised = (load(source[token + c]) - mean) / deviation;
        output[row * channels + c] = as_output(normalised * gamma[c] + beta[c]);
    }
}
