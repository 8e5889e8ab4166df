// resize_bilinear: images of another size, by bilinear interpolation; PyTorch's, without aligned corners.

struct Params {
    grid_width: u32,
    // Elements of the result.
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

// The two pixels between whose centres a pixel of the result lies, and the second's share.
struct Neighbours {
    first: u32,
    second: u32,
    share: f32,
}

// Of pixel p of a side of `out` that was one of `size`: the place (p + 1/2) size / out - 1/2, at least 0, is counted
// in whole parts of 1 / (2 out), so that which pixels they are does not hang on a rounding.
fn neighbours(p: u32, size: u32, out: u32) -> Neighbours {
    let parts = max((2u * p + 1u) * size, out) - out;
    let first = parts / (2u * out);
    return Neighbours(first, min(first + 1u, size - 1u), f32(parts % (2u * out)) / f32(2u * out));
}

// The value in a line, whose first pixel is given, between two columns.
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
