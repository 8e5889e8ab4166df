// film_affine: FiLM folded into the rows of a norm, which are a gain and a bias per (sample, channel).
//
//   (x * scale + shift) * (1 + s) + t = x * (scale * (1 + s)) + (shift * (1 + s) + t)

struct Params {
    grid_width: u32,
    batch: u32,
    channels: u32,
    // The length of a sample's row of `rows` and of `film`, and the offset of the 2 * channels elements in it.
    rows_length: u32,
    rows_offset: u32,
    film_length: u32,
    film_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>; // [n, rows_length]
@group(0) @binding(2) var<storage, read> film: array<f32>; // [n, film_length]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [n, 2 * channels]

#import grid.wgsl

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    let channels = params.channels;
    if i >= params.batch * channels {
        return;
    }
    let n = i / channels;
    let c = i % channels;
    let scale = n * params.rows_length + params.rows_offset + c;
    let s = n * params.film_length + params.film_offset + c;
    let gain = 1.0 + film[s];
    output[n * 2u * channels + c] = rows[scale] * gain;
    output[n * 2u * channels + channels + c] = rows[scale + channels] * gain + film[s + channels];
}
