// max_pool: the largest value of each window among the pixels inside the image. NaN is larger than any number.

struct Params {
    grid_width: u32,
    // The number of elements of the result.
    elements: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    // The number of rows and columns of the first windows above and left of the source. Negative in a strip of a larger
    // image if the first window begins further down.
    padding_top: i32,
    padding_left: i32,
    out_h: u32,
    out_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Stored>; // [n, height, width, channels]
@group(0) @binding(2) var<storage, read_write> output: array<Stored>; // [n, out_h, out_w, channels]

#import finite.wgsl
#import fours.wgsl
#import grid.wgsl

#if half
alias Bits = vec4<u32>;
#else
alias Bits = u32;
#end

// Returns the begin and the end of the pixels inside the image, in one direction, for the window at `place`. There is
// at least one pixel, because the padding is at most half a window.
fn inside(place: u32, kernel: u32, length: u32, padding: i32) -> vec2<u32> {
    let start = i32(place * params.stride) - padding;
    return vec2(u32(max(start, 0)), min(u32(start + i32(kernel)), length));
}

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    let c = i % params.channels;
    let pixel = i / params.channels;
    let columns = inside(pixel % params.out_w, params.kernel_w, params.width, params.padding_left);
    let lines = inside(pixel / params.out_w % params.out_h, params.kernel_h, params.height, params.padding_top);
    let n = pixel / params.out_w / params.out_h;

    // Starts with a value of the window, not with an infinity, which a driver may assume not to exist.
    var largest = load(source[((n * params.height + lines.x) * params.width + columns.x) * params.channels + c]);
    var nan = Bits();
    for (var y = lines.x; y < lines.y; y++) {
        for (var x = columns.x; x < columns.y; x++) {
            let value = load(source[((n * params.height + y) * params.width + x) * params.channels + c]);
            let bits = bitcast<Bits>(value);
            nan = select(nan, bits, (bits & Bits(0x7fffffffu)) > Bits(EXPONENT));
            largest = max(largest, value);
        }
    }
    output[i] = stored(select(largest, bitcast<Value>(nan), nan != Bits()));
}
