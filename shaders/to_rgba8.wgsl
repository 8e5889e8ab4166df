// to_rgba8: pixels as bytes red, green, blue and 255, in lines of the length that a copy to a texture requires.

struct Params {
    grid_width: u32,
    // The number of words of the result.
    elements: u32,
    width: u32,
    // The number of words of a line.
    pitch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>; // [n, height, width, 3]
@group(0) @binding(2) var<storage, read_write> output: array<u32>; // [n, height, pitch]

#import grid.wgsl

fn byte(value: f32) -> u32 {
    return u32(clamp((value + 1.0) * 127.5, 0.0, 255.0));
}

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    let x = i % params.pitch;
    var word = 0u;
    if x < params.width {
        let at = (i / params.pitch * params.width + x) * 3u;
        word = byte(source[at]) | (byte(source[at + 1u]) << 8u) | (byte(source[at + 2u]) << 16u) | 0xff000000u;
    }
    output[i] = word;
}
