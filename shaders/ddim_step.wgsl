// ddim_step: one step of DDIM, towards the image or, for DDIM reverse, towards the noise.
//
//   epsilon = (sqrt_recip x_t - x_0) / sqrt_recipm1
//   x_prev  = c_0 x_0 + c_epsilon epsilon + sigma noise

struct Params {
    grid_width: u32,
    // The number of elements of all images.
    elements: u32,
    channels: u32,
    // The number of channels of the network's output.
    output_channels: u32,
    // The number of rows of the table.
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x_t: array<f32>; // [n, h, w, channels]
@group(0) @binding(2) var<storage, read> model_output: array<f32>; // [n, h, w, output_channels]
#if noise
@group(0) @binding(3) var<storage, read> noise: array<f32>; // [n, h, w, channels]
#end
@group(0) @binding(4) var<storage, read> table: array<f32>; // [steps, COLUMNS]
@group(0) @binding(5) var<storage, read> state: array<u32>; // [4]: the step first
@group(0) @binding(6) var<storage, read_write> x_prev: array<f32>; // [n, h, w, channels]
@group(0) @binding(7) var<storage, read_write> x_0: array<f32>; // [n, h, w, channels]

#import grid.wgsl
#import x_0.wgsl

// The table's columns, as in DdimCoefficients.
const SQRT_RECIP = 0u;
const SQRT_RECIPM1 = 1u;
const X_0 = 2u;
const EPSILON = 3u;
const SIGMA = 4u;
const COLUMNS = 5u;

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    // Steps beyond the table read its last row.
    let row = min(state[0], params.steps - 1u) * COLUMNS;
    let sqrt_recip = table[row + SQRT_RECIP];
    let sqrt_recipm1 = table[row + SQRT_RECIPM1];
    let noisy = x_t[i];
    let place = i / params.channels * params.output_channels + i % params.channels;

    let clean = predicted_x_0(sqrt_recip, sqrt_recipm1, noisy, model_output[place]);
    // The noise is recomputed from the clipped x_0.
    let epsilon = (sqrt_recip * noisy - clean) / sqrt_recipm1;
    var next = clean * table[row + X_0] + table[row + EPSILON] * epsilon;
#if noise
    next += table[row + SIGMA] * noise[i];
#end
    x_0[i] = clean;
    x_prev[i] = next;
}
