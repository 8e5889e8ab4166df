// resize_bilinear: resizes images by bilinear interpolation, as PyTorch does without aligned corners.

struct Params {
    grid_width: u32,
    // The number of elements of the result.
    elements: u32,
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>; // [n, height, width, channels]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [n, out_height, out_width, channels]

#import grid.wgsl

// The two pixels whose centres enclose the centre of a result's pixel, and the weight of the second.
struct Neighbours {
    first: u32,
    second: u32,
    share: f32,
}

// Returns the neighbours of pixel p when a side is resized from `size` to `out` pixels. The position
// (p + 1/2) size / out - 1/2, clamped to at least 0, is computed in integer multiples of 1 / (2 out), so that the
// choice of pixels does not depend on rounding.
fn neighbours(p: u32, size: u32, out: u32) -> Neighbours {
    let parts = max((2u * p + 1u) * size, out) - out;
    let first = parts / (2u * out);
    return Neighbours(first, min(first + 1u, size - 1u), f32(parts % (2u * out)) / f32(2u * out));
}

// Interpolates between two columns of a line, which is given by its first pixel.
fn across(line: u32, columns: Neighbours, c: u32) -> f32 {
    let left = source[(line + columns.first) * params.channels + c];
    let right = source[(line + columns.second) * params.channels + c];
    return (1.0 - columns.share) * left + columns.share * right;
}

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    let c = i % params.channels;
    let pixel = i / params.channels;
    let columns = neighbours(pixel % params.out_width, params.width, params.out_width);
    let lines = neighbours(pixel / params.out_width % params.out_height, params.height, params.out_height);
    let image = pixel / params.out_width / params.out_height * params.height;
    let above = across((image + lines.first) * params.width, columns, c);
    let below = across((image + lines.second) * params.width, columns, c);
    output[i] = (1.0 - lines.share) * above + lines.share * below;
}
