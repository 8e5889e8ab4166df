// avg_pool: the mean over windows that do not overlap. With `rows`, the source first goes through an affine map per
// (sample, channel) and an activation.
//
// An invocation computes one element. If windows are large (`wide`), there are few elements: a workgroup then
// computes 32 channels of a window, and its lanes share the window's columns.
//
// With `half`, the source is in half precision, and with `half_out` the result is as well. With `fours`, an
// invocation computes four channels.

struct Params {
    grid_width: u32,
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_h: u32,
    kernel_w: u32,
    out_h: u32,
    out_w: u32,
    // The length of a sample's row of `rows`, and the offset of the 2 * channels elements in it.
    rows_length: u32,
    rows_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Source>; // [n, height, width, channels]
#if rows
@group(0) @binding(2) var<storage, read> rows: array<Value>; // [n, rows_length]
#end
@group(0) @binding(3) var<storage, read_write> output: array<Output>; // [n, out_h, out_w, channels]

#import grid.wgsl
#if half
#import half.wgsl
alias Source = Half4;
#else
alias Source = f32;
#end
#if fours
alias Value = vec4<f32>;
#else
alias Value = f32;
#end
#if half_out
alias Output = Half4;
#else
alias Output = Value;
#end
#if rows
#import activation.wgsl

override ACTIVATION: u32;
#end
#if wide
#import lanes.wgsl
#end

fn load(i: u32) -> Value {
#if half
#if fours
    return widen(source[i]);
#else
    return widen(source[i / 4u])[i % 4u];
#end
#else
    return source[i];
#end
}

// Returns the sum of every `step`-th column of a window, beginning with `first`.
fn window_sum(window: u32, c: u32, first: u32, step: u32) -> Value {
    let n = window / params.out_w / params.out_h;
    let top = window / params.out_w % params.out_h * params.kernel_h;
    let left = window % params.out_w * params.kernel_w;
#if rows
    let row = n * params.rows_length + params.rows_offset + c;
    let scale = rows[row];
    let shift = rows[row + params.channels];
#end
    var sum = Value();
    for (var y = 0u; y < params.kernel_h; y++) {
        let line = (n * params.height + top + y) * params.width + left;
        for (var x = first; x < params.kernel_w; x += step) {
            let value = load((line + x) * params.channels + c);
#if rows
#if fours
            sum += activate4(ACTIVATION, value * scale + shift);
#else
            sum += activate(ACTIVATION, value * scale + shift);
#end
#else
            sum += value;
#end
        }
    }
    return sum;
}

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let channels = params.channels;
    let windows = params.batch * params.out_h * params.out_w;
    let pixels = f32(params.kernel_h * params.kernel_w);
#if wide
    let blocks = (channels + CHANNELS - 1u) / CHANNELS;
    let index = workgroup_index(workgroup);
    let window = index / blocks;
    if window >= windows {
        return;
    }
    let c = index % blocks * CHANNELS + local % CHANNELS;
    let lane = local / CHANNELS;
    var sum = 0.0;
    // Invocations without a channel must still reach the barriers.
    if c < channels {
        sum = window_sum(window, c, lane, LANES);
    }
    let total = sum_of_lanes(local, sum);
    if lane == 0u && c < channels {
        output[window * channels + c] = total / pixels;
    }
#else
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= windows * channels {
        return;
    }
    let mean = window_sum(i / channels, i % channels, 0u, 1u) / pixels;
#if half_out
    output[i] = narrow(mean);
#else
    output[i] = mean;
#end
#end
}
