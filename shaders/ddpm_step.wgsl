// ddpm_step: one step of ancestral sampling.
//
//   x_prev = coef1 x_0 + coef2 x_t + noise_mask exp(log_var / 2) noise

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
@group(0) @binding(3) var<storage, read> noise: array<f32>; // [n, h, w, channels]
@group(0) @binding(4) var<storage, read> table: array<f32>; // [steps, COLUMNS]
@group(0) @binding(5) var<storage, read> state: array<u32>; // [4]: the step first
@group(0) @binding(6) var<storage, read_write> x_prev: array<f32>; // [n, h, w, channels]
@group(0) @binding(7) var<storage, read_write> x_0: array<f32>; // [n, h, w, channels]

#import grid.wgsl
#import x_0.wgsl

// 1 if the second half of the output's channels determines the variance.
override LEARNED_VARIANCE: u32;

// The table's columns, as in DdpmCoefficients.
const SQRT_RECIP = 0u;
const SQRT_RECIPM1 = 1u;
const COEF1 = 2u;
const COEF2 = 3u;
const MIN_LOG_VARIANCE = 4u;
const MAX_LOG_VARIANCE = 5u;
const NOISE_MASK = 6u;
const COLUMNS = 7u;

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    // Steps beyond the table read its last row.
    let row = min(state[0], params.steps - 1u) * COLUMNS;
    let noisy = x_t[i];
    let place = i / params.channels * params.output_channels + i % params.channels;

    let clean = predicted_x_0(table[row + SQRT_RECIP], table[row + SQRT_RECIPM1], noisy, model_output[place]);
    let mean = table[row + COEF1] * clean + table[row + COEF2] * noisy;
    var log_variance = table[row + MAX_LOG_VARIANCE];
    if LEARNED_VARIANCE != 0u {
        let fraction = (model_output[place + params.channels] + 1.0) / 2.0;
        log_variance = fraction * log_variance + (1.0 - fraction) * table[row + MIN_LOG_VARIANCE];
    }
    x_0[i] = clean;
    x_prev[i] = mean + table[row + NOISE_MASK] * exp(0.5 * log_variance) * noise[i];
}
