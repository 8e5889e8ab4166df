// max_pool: the largest value of each window, of the pixels inside of the image. NaN is larger than anything.

struct Params {
    grid_width: u32,
    // Elements of the result.
    elements: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    // Rows and columns of the first windows that lie above and left of the source; of a strip of a larger image whose
    // first window begins further down, less than 0.
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

// Where the pixels inside of the image begin and end, of the window at a place, in one direction. There is at least
// one, since the padding is no more than half a window.
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

    // Begins with a value of the window, not with an infinity, which a driver may assume not to exist.
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
