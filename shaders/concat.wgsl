// concat: two values concatenated along the channels.

struct Params {
    grid_width: u32,
    // The number of elements of the result.
    elements: u32,
    // The number of channels of the first and of the second source.
    first: u32,
    second: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Stored>; // [n, h, w, first]
@group(0) @binding(2) var<storage, read> second: array<Stored>; // [n, h, w, second]
@group(0) @binding(3) var<storage, read_write> output: array<Stored>; // [n, h, w, first + second]

#import fours.wgsl
#import grid.wgsl

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    let channels = params.first + params.second;
    let pixel = i / channels;
    let c = i % channels;
    if c < params.first {
        output[i] = source[pixel * params.first + c];
    } else {
        output[i] = second[pixel * params.second + c - params.first];
    }
}
