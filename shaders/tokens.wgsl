// tokens: the first tokens of a vision transformer: the prefix (class token, registers) of every image, followed by
// its patches with their positions. With `own_prefix`, each image has its own prefix, which gets positions as well.

struct Params {
    grid_width: u32,
    // The number of elements of the result.
    elements: u32,
    // The number of tokens of a sample, and of its prefix.
    tokens: u32,
    prefix_tokens: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<Stored>; // [n, h, w, channels]
@group(0) @binding(2) var<storage, read> positions: array<Value>; // [h * w, channels], or [tokens, channels]
@group(0) @binding(3) var<storage, read> prefix: array<Value>; // [prefix_tokens, channels], or [n, prefix_tokens, channels]
@group(0) @binding(4) var<storage, read_write> output: array<Stored>; // [n, tokens, channels]

#import fours.wgsl
#import grid.wgsl

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    let of_prefix = params.prefix_tokens * params.channels;
    let of_sample = params.tokens * params.channels;
    let n = i / of_sample;
    // The element's index in the sample.
    let j = i % of_sample;
#if own_prefix
    if j < of_prefix {
        output[i] = stored(prefix[n * of_prefix + j] + positions[j]);
    } else {
        output[i] = stored(load(patches[n * (of_sample - of_prefix) + j - of_prefix]) + positions[j]);
    }
#else
    if j < of_prefix {
        output[i] = stored(prefix[j]);
    } else {
        let k = j - of_prefix;
        output[i] = stored(load(patches[n * (of_sample - of_prefix) + k]) + positions[k]);
    }
#end
}
