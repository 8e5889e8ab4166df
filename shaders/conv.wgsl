// conv: two-dimensional convolution as a matrix product. Its rows are the pixels of one image, its columns the
// channels of the result, and what it sums over are the taps of the window times the channels of the sources. The
// left matrix is never made: each tile of it is gathered from the sources, through the affine rows and the
// activation, into workgroup memory.
//
// A workgroup has a tile of 4 PIXELS4 x 4 COLUMNS4 and goes through the depth DEPTH terms at a time. A thread has
// 4 ROWS4 pixels by 4 COLS4 columns of it in registers: so many multiply-adds per value that it reads. While it
// multiplies, what it is to place next is on its way from memory.
//
// Where one image has too few tiles to keep a device busy, the depth is split. Then the output is raw sums,
// [n, splits, pixels, columns], and the variant `reduce` adds them up, in order, and goes on as if it had
// multiplied. So every element is one chain of sums (per split), whatever the batch.

struct Params {
    grid_width: u32,
    // The grid: samples, splits, tiles of pixels, tiles of columns, the last the fastest: neighbours share pixels.
    batch: u32,
    splits: u32,
    pixel_tiles: u32,
    column_tiles: u32,
    // Size of the sources, channels of the first and of both.
    height: u32,
    width: u32,
    first: u32,
    channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
    // Terms of a sum, and of one split of it: a multiple of DEPTH.
    depth: u32,
    split_depth: u32,
    // Of an image of the result.
    pixels: u32,
    out_width: u32,
    out_channels: u32,
    // The columns of the weight's part that is bound.
    first_column: u32,
    end_column: u32,
    rows_length: u32,
    rows_offset: u32,
    // Whether there is a bias and a row to be added, and how many times the residual is enlarged (0: there is
    // none). What is not there is bound to another buffer and not read, so that one pipeline serves them all. Only
    // where it would be the ninth buffer, the residual is left out.
    bias: u32,
    add: u32,
    add_length: u32,
    add_offset: u32,
    residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#if reduce
@group(0) @binding(10) var<storage, read> partials: array<vec4<f32>>; // [n, splits, pixels, columns]
#else
#if narrow_in
@group(0) @binding(1) var<storage, read> source: array<f32>; // [n, h, w, first]
#if second
@group(0) @binding(2) var<storage, read> second: array<f32>; // [n, h, w, channels - first]
#end
#if rows
@group(0) @binding(3) var<storage, read> rows: array<f32>; // [n, rows_length]
#end
#else
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>; // [n, h, w, first]
#if second
@group(0) @binding(2) var<storage, read> second: array<vec4<f32>>; // [n, h, w, channels - first]
#end
#if rows
@group(0) @binding(3) var<storage, read> rows: array<vec4<f32>>; // [n, rows_length]
#end
#end
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>; // [panels, depth, 64]
#end
@group(0) @binding(5) var<storage, read> bias: array<f32>; // [out_channels]
@group(0) @binding(6) var<storage, read> add: array<f32>; // [n, add_length]
#if residual
#if narrow_out
@group(0) @binding(7) var<storage, read> residual: array<f32>; // [n, h / residual, w / residual, out_channels]
#else
@group(0) @binding(7) var<storage, read> residual: array<vec4<f32>>; // [n, h / residual, w / residual, out_channels]
#end
#end
#if narrow_out
@group(0) @binding(8) var<storage, read_write> output: array<f32>; // [n, splits, pixels, out_channels]
#else
@group(0) @binding(8) var<storage, read_write> output: array<vec4<f32>>; // [n, splits, pixels, out_channels]
#end
#if stats
@group(0) @binding(9) var<storage, read_write> stats: array<vec4<f32>>; // [n, tiles of 64 pixels, 2, out_channels]
#end

override STORE_ACTIVATION: u32;

const THREADS_M = ${THREADS_M}u;
const THREADS_N = ${THREADS_N}u;
const THREADS = THREADS_M * THREADS_N;
const PIXELS4 = ${ROWS4}u * THREADS_M;
const COLUMNS4 = ${COLS4}u * THREADS_N;

#import grid.wgsl
#import activation.wgsl

#if reduce
var<workgroup> tile_a: array<vec4<f32>, THREADS_M * COLUMNS4>;
#else
override UPSAMPLE: u32;
#if rows
override LOAD_ACTIVATION: u32;
#end

const DEPTH = ${DEPTH}u;
// Fours of columns of a panel.
const PANEL4 = 16u;
// Added to a position, it is outside of every image.
const OUTSIDE = 0x40000000u;

// Tiles of both matrices, a row per term.
var<workgroup> tile_a: array<vec4<f32>, DEPTH * PIXELS4>;
var<workgroup> tile_b: array<vec4<f32>, DEPTH * COLUMNS4>;

// A term of the sum: where in the window, and which channel.
struct Term {
    y: u32,
    x: u32,
    c: u32,
}

// The term so many further on. No division: once per loop and thread, it would cost more than a load.
fn advance(term: Term, count: u32) -> Term {
    var next = term;
    next.c += count;
    while next.c >= params.channels {
        next.c -= params.channels;
        next.x += 1u;
        if next.x == params.kernel_width {
            next.x = 0u;
            next.y += 1u;
        }
    }
    return next;
}

// 4 terms of 4 pixels.
struct Block {
    values: mat4x4<f32>,
#if !narrow_in
    inside: vec4<bool>,
#if rows
    scale: vec4<f32>,
    shift: vec4<f32>,
#end
#end
}

#if narrow_in
// Each term is a tap of its own: a row of values is the 4 pixels at one.
fn load(sample: u32, y: vec4<u32>, x: vec4<u32>, first: Term) -> Block {
    var block: Block;
    var term = first;
#for j in 0..4
    {
        let in_y = y + term.y;
        let in_x = x + term.x;
        let inside = (in_y < vec4(params.height * UPSAMPLE)) & (in_x < vec4(params.width * UPSAMPLE))
            & vec4(term.y < params.kernel_height);
        // Outside, a value is loaded that is there, and not used.
        let pixel = select(vec4(0u), (sample * params.height + in_y / UPSAMPLE) * params.width + in_x / UPSAMPLE, inside);
#if second
        var value: vec4<f32>;
        if term.c < params.first {
            let at = pixel * params.first + term.c;
            value = vec4(source[at.x], source[at.y], source[at.z], source[at.w]);
        } else {
            let at = pixel * (params.channels - params.first) + term.c - params.first;
            value = vec4(second[at.x], second[at.y], second[at.z], second[at.w]);
        }
#else
        let at = pixel * params.channels + term.c;
        var value = vec4(source[at.x], source[at.y], source[at.z], source[at.w]);
#end
#if rows
        let row = sample * params.rows_length + params.rows_offset + term.c;
        value = activate4(LOAD_ACTIVATION, value * rows[row] + rows[row + params.channels]);
#end
        block.values[$j] = select(vec4(0.0), value, inside);
        term = advance(term, 1u);
    }
#end
    return block;
}

fn place(block: Block, at: u32) {
#for j in 0..4
    tile_a[at + ${j}u * PIXELS4] = block.values[$j];
#end
}
#else
// All 4 terms are channels of one tap: a row of values is one pixel.
fn load(sample: u32, y: vec4<u32>, x: vec4<u32>, term: Term) -> Block {
    var block: Block;
    let in_y = y + term.y;
    let in_x = x + term.x;
    block.inside = (in_y < vec4(params.height * UPSAMPLE)) & (in_x < vec4(params.width * UPSAMPLE))
        & vec4(term.y < params.kernel_height);
    // Outside, a value is loaded that is there, and not used.
    let inside_pixel = (sample * params.height + in_y / UPSAMPLE) * params.width + in_x / UPSAMPLE;
    let pixel = select(vec4(0u), inside_pixel, block.inside);
#if second
    if term.c < params.first {
        let at = (pixel * params.first + term.c) / 4u;
        block.values = mat4x4(source[at.x], source[at.y], source[at.z], source[at.w]);
    } else {
        let at = (pixel * (params.channels - params.first) + term.c - params.first) / 4u;
        block.values = mat4x4(second[at.x], second[at.y], second[at.z], second[at.w]);
    }
#else
    let at = (pixel * params.channels + term.c) / 4u;
    block.values = mat4x4(source[at.x], source[at.y], source[at.z], source[at.w]);
#end
#if rows
    let row = sample * params.rows_length + params.rows_offset + term.c;
    block.scale = rows[row / 4u];
    block.shift = rows[(row + params.channels) / 4u];
#end
    return block;
}

// Whatever needs the loaded values is done here, after the products that they were loaded behind.
fn place(block: Block, at: u32) {
#for j in 0..4
#if rows
    let value_$j = activate4(LOAD_ACTIVATION, block.values[$j] * block.scale + block.shift);
#else
    let value_$j = block.values[$j];
#end
    let pixel_$j = select(vec4(0.0), value_$j, block.inside[$j]);
#end
    let terms = transpose(mat4x4(pixel_0, pixel_1, pixel_2, pixel_3));
#for j in 0..4
    tile_a[at + ${j}u * PIXELS4] = terms[$j];
#end
}
#end

fn load_weight(term: u32, column4: u32) -> vec4<f32> {
    let inside = term < params.depth && params.first_column + 4u * column4 < params.end_column;
    let at = (column4 / PANEL4 * params.depth + term) * PANEL4 + column4 % PANEL4;
    return select(vec4(0.0), weight[select(0u, at, inside)], inside);
}
#end

// Bias and added row of 4 columns; behind the last column, the last one's.
fn added(sample: u32, column: u32) -> vec4<f32> {
    let at = min(column + vec4(0u, 1u, 2u, 3u), vec4(params.out_channels - 1u));
    var sum = vec4(0.0);
    if params.bias != 0u {
        sum += vec4(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    }
    if params.add != 0u {
        let row = sample * params.add_length + params.add_offset + at;
        sum += vec4(add[row.x], add[row.y], add[row.z], add[row.w]);
    }
    return sum;
}

// Stores 4 columns of a row and gives what it stored.
fn store(row: u32, residual_row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    var value = sum;
#if residual
    if params.residual != 0u {
        let first = residual_row * params.out_channels;
#if narrow_out
        let at = first + min(column + vec4(0u, 1u, 2u, 3u), vec4(params.out_channels - 1u));
        value += vec4(residual[at.x], residual[at.y], residual[at.z], residual[at.w]);
#else
        value += residual[(first + column) / 4u];
#end
    }
#end
    value = activate4(STORE_ACTIVATION, value);
    let first = row * params.out_channels + column;
#if narrow_out
#for j in 0..4
    if column + ${j}u < params.out_channels {
        output[first + ${j}u] = value[$j];
    }
#end
#else
    output[first / 4u] = value;
#end
    return value;
}

#if stats
// The sum of what all threads of a column of threads placed.
fn total(column4: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var m = 0u; m < THREADS_M; m += 1u) {
        sum += tile_a[m * COLUMNS4 + column4];
    }
    return sum;
}
#end

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let tile = workgroup_index(workgroup);
    let first_column4 = tile % params.column_tiles * COLUMNS4;
    let pixel_tile = tile / params.column_tiles;
    let first_pixel = pixel_tile % params.pixel_tiles * 4u * PIXELS4;
    // One image of the output: a sample, or a split of it.
    let image = pixel_tile / params.pixel_tiles;
#if reduce
    let sample = image;
#else
    let sample = image / params.splits;
#end
    if sample >= params.batch {
        return;
    }
    // Where the thread stands in the tile. Its fours of pixels, and of columns, lie THREADS_M and THREADS_N apart,
    // so that threads side by side read and write side by side.
    let m = local / THREADS_N;
    let n = local % THREADS_N;

#for i in 0..$ROWS4
#for j in 0..4
#for c in 0..$COLS4
    var sum_$i$j_$c = vec4(0.0);
#end
#end
#end

#if reduce
    let columns4 = (params.out_channels + 3u) / 4u;
    for (var split = 0u; split < params.splits; split += 1u) {
        let first_row = (sample * params.splits + split) * params.pixels;
#for i in 0..$ROWS4
#for j in 0..4
        {
            let pixel = min(first_pixel + 4u * (m + ${i}u * THREADS_M) + ${j}u, params.pixels - 1u);
#for c in 0..$COLS4
            let column4_$c = min(first_column4 + n + ${c}u * THREADS_N, columns4 - 1u);
            sum_$i$j_$c += partials[(first_row + pixel) * columns4 + column4_$c];
#end
        }
#end
#end
    }
#else
    // What the thread loads: at one place of every DEPTH terms, so many blocks of 4 pixels. Blocks are shifted in
    // their rows, the further the later the terms, so that threads that place side by side hit different banks.
    let begin = image % params.splits * params.split_depth;
    let end = min(begin + params.split_depth, params.depth);
    let term4 = local % (DEPTH / 4u);
    let tap = (begin + 4u * term4) / params.channels;
    var term = Term(tap / params.kernel_width, tap % params.kernel_width, (begin + 4u * term4) % params.channels);
#for i in 0..$A_LOADS
    let pixel4_$i = (local + ${i}u * THREADS) / (DEPTH / 4u);
    let at_$i = 4u * term4 * PIXELS4 + (pixel4_$i ^ (2u * (term4 % 4u)));
    let pixel_$i = first_pixel + 4u * pixel4_$i + vec4(0u, 1u, 2u, 3u);
    let y_$i = select(vec4(OUTSIDE), pixel_$i / params.out_width * params.stride - params.padding, pixel_$i < vec4(params.pixels));
    let x_$i = pixel_$i % params.out_width * params.stride - params.padding;
    var block_$i: Block;
    if pixel4_$i < PIXELS4 {
        block_$i = load(sample, y_$i, x_$i, term);
    }
#end
#for i in 0..$B_LOADS
    let weight_term_$i = (local + ${i}u * THREADS) / COLUMNS4;
    let weight_column4_$i = first_column4 + (local + ${i}u * THREADS) % COLUMNS4;
    var weight_$i = load_weight(begin + weight_term_$i, weight_column4_$i);
#end

    for (var next = begin + DEPTH; next < end + DEPTH; next += DEPTH) {
#for i in 0..$A_LOADS
        if pixel4_$i < PIXELS4 {
            place(block_$i, at_$i);
        }
#end
#for i in 0..$B_LOADS
        if weight_term_$i < DEPTH {
            tile_b[local + ${i}u * THREADS] = weight_$i;
        }
#end
        workgroupBarrier();

        if next < end {
            term = advance(term, DEPTH);
#for i in 0..$A_LOADS
            if pixel4_$i < PIXELS4 {
                block_$i = load(sample, y_$i, x_$i, term);
            }
#end
#for i in 0..$B_LOADS
            weight_$i = load_weight(next + weight_term_$i, weight_column4_$i);
#end
        }

        for (var k4 = 0u; k4 < DEPTH / 4u; k4 += 1u) {
#for i in 0..$ROWS4
            let at_a_$i = 4u * k4 * PIXELS4 + ((m + ${i}u * THREADS_M) ^ (2u * (k4 % 4u)));
#end
            let at_b = 4u * k4 * COLUMNS4 + n;
#for k in 0..4
            {
#for i in 0..$ROWS4
                let a_$i = tile_a[at_a_$i + ${k}u * PIXELS4];
#end
#for c in 0..$COLS4
                let b_$c = tile_b[at_b + ${k}u * COLUMNS4 + ${c}u * THREADS_N];
#end
#for i in 0..$ROWS4
#for j in 0..4
#for c in 0..$COLS4
                sum_$i$j_$c = fma(vec4(a_$i[$j]), b_$c, sum_$i$j_$c);
#end
#end
#end
            }
#end
        }
        workgroupBarrier();
    }
#end

#for c in 0..$COLS4
    let column_$c = params.first_column + 4u * (first_column4 + n + ${c}u * THREADS_N);
    let added_$c = added(sample, column_$c);
#end
    let enlarged = max(params.residual, 1u);
    let residual_width = params.out_width / enlarged;
    let first_residual = sample * (params.pixels / (enlarged * enlarged));
#for i in 0..$ROWS4
#for j in 0..4
    let pixel_$i$j = first_pixel + 4u * (m + ${i}u * THREADS_M) + ${j}u;
    if pixel_$i$j < params.pixels {
        let row = image * params.pixels + pixel_$i$j;
        let y = pixel_$i$j / params.out_width / enlarged;
        let x = pixel_$i$j % params.out_width / enlarged;
        let residual_row = first_residual + y * residual_width + x;
#for c in 0..$COLS4
        if column_$c < params.end_column {
            sum_$i$j_$c = store(row, residual_row, column_$c, sum_$i$j_$c + added_$c);
        }
#end
    }
#end
#end

#if stats
    // Of each 64 pixels: their mean, and then, from the registers, the sum of squares around it.
    let tiles = (params.pixels + 63u) / 64u;
    for (var t = 0u; t < 4u * PIXELS4 / 64u; t += 1u) {
        let first = first_pixel + 64u * t;
        let count = f32(clamp(params.pixels, first + 1u, first + 64u) - first);
#for c in 0..$COLS4
        let at_$c = n + ${c}u * THREADS_N;
        var part_$c = vec4(0.0);
#end
#for i in 0..$ROWS4
#for j in 0..4
        let counts_$i$j = pixel_$i$j < params.pixels && pixel_$i$j / 64u == first / 64u;
        if counts_$i$j {
#for c in 0..$COLS4
            part_$c += sum_$i$j_$c;
#end
        }
#end
#end
#for c in 0..$COLS4
        tile_a[m * COLUMNS4 + at_$c] = part_$c;
        part_$c = vec4(0.0);
#end
        workgroupBarrier();
#for c in 0..$COLS4
        let mean_$c = total(at_$c) / count;
#end
        workgroupBarrier();
#for i in 0..$ROWS4
#for j in 0..4
        if counts_$i$j {
#for c in 0..$COLS4
            part_$c += (sum_$i$j_$c - mean_$c) * (sum_$i$j_$c - mean_$c);
#end
        }
#end
#end
#for c in 0..$COLS4
        tile_a[m * COLUMNS4 + at_$c] = part_$c;
#end
        workgroupBarrier();
        if m == 0u && first < params.pixels {
            let row = 2u * (sample * tiles + first / 64u);
#for c in 0..$COLS4
            if column_$c < params.end_column {
                stats[(row * params.out_channels + column_$c) / 4u] = mean_$c;
                stats[((row + 1u) * params.out_channels + column_$c) / 4u] = total(at_$c);
            }
#end
        }
        workgroupBarrier();
    }
#end
}
