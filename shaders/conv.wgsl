// conv: two-dimensional convolution as a matrix product. Its rows are the pixels of one image, its columns are the
// channels of the result, and it sums over the taps of the window times the channels of the sources. The left matrix
// is never stored: each tile of it is gathered from the sources, and the affine rows and the activation are applied
// on the way.
//
// A workgroup computes a tile of 4 PIXELS4 x 4 COLUMNS4 and loops over the depth. It stages DEPTH terms at a time in
// workgroup memory. A thread holds 4 ROWS4 pixels by 4 COLS4 columns of the tile in registers, so that each value
// that it reads serves many multiply-adds. While a thread multiplies, it loads the next terms from memory.
//
// If one image has too few tiles to keep a device busy, the depth is split. The output is then raw sums,
// [n, splits, pixels, columns]. The variant `reduce` adds them up in order and finishes like the unsplit shader.
// Every element is therefore one chain of sums (per split), whatever the batch.

struct Params {
    grid_width: u32,
    // The grid: samples beginning with first_sample, splits, tiles of pixels, tiles of columns. Tiles of columns vary
    // fastest, because neighbours then share pixels.
    first_sample: u32,
    samples: u32,
    splits: u32,
    pixel_tiles: u32,
    column_tiles: u32,
    // The size of the sources, and the number of channels of the first and of both.
    height: u32,
    width: u32,
    first: u32,
    channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    // The distance of the first window's origin above and left of the enlarged sources. In a strip of a larger image
    // the first window may begin further down: padding_top is then negative and wraps around.
    padding_top: u32,
    padding_left: u32,
    // The number of terms of a sum, and of one split of it, which is a multiple of DEPTH.
    depth: u32,
    split_depth: u32,
    // The size of an image of the result.
    pixels: u32,
    out_width: u32,
    out_channels: u32,
    // The columns of the bound part of the weight.
    first_column: u32,
    end_column: u32,
    rows_length: u32,
    rows_offset: u32,
    // bias and add are 0 if there is none. residual is the factor by which the residual is enlarged, or 0 if there is
    // no residual. Another buffer is bound in place of an absent one, and not read, so that one pipeline serves all
    // cases. The residual's binding is omitted only if it would be the ninth buffer.
    bias: u32,
    add: u32,
    add_length: u32,
    add_offset: u32,
    residual: u32,
}

#if half
#import half.wgsl
#end
// The types in memory of the sources and their rows, of the weight, of the result, and of the rows that are added
// to it. With `half`, values and weights are in half precision. Two exceptions are f32: narrow values, which are
// not stored in fours, and raw sums (`sums`).
#if narrow_in
alias In = f32;
alias Row = f32;
#else
#if half
alias In = Half4;
#else
alias In = vec4<f32>;
#end
alias Row = vec4<f32>;
#end
#if half
alias Weight = Half4;
#else
alias Weight = vec4<f32>;
#end
#if narrow_out
alias Out = f32;
alias Added = f32;
#else
#if half
#if sums
alias Out = vec4<f32>;
#else
alias Out = Half4;
#end
#else
alias Out = vec4<f32>;
#end
alias Added = vec4<f32>;
#end

@group(0) @binding(0) var<uniform> params: Params;
#if reduce
@group(0) @binding(10) var<storage, read> partials: array<vec4<f32>>; // [n, splits, pixels, columns]
#else
@group(0) @binding(1) var<storage, read> source: array<In>; // [n, height, width, first]
#if second
@group(0) @binding(2) var<storage, read> second: array<In>; // [n, height, width, channels - first]
#end
#if rows
@group(0) @binding(3) var<storage, read> rows: array<Row>; // [n, rows_length]
#end
@group(0) @binding(4) var<storage, read> weight: array<Weight>; // [panels, depth, 64]
#end
@group(0) @binding(5) var<storage, read> bias: array<Added>; // [out_channels]
@group(0) @binding(6) var<storage, read> add: array<Added>; // [n, add_length]
#if residual
@group(0) @binding(7) var<storage, read> residual: array<Out>; // [n, pixels / residual^2, out_channels]
#end
@group(0) @binding(8) var<storage, read_write> output: array<Out>; // [n, splits, pixels, out_channels]
#if stats
@group(0) @binding(9) var<storage, read_write> stats: array<Added>; // [n, tiles of 64 pixels, 2, out_channels]
#end

#if stats
const STATS_TILE = ${STATS_TILE}u;
#end
const THREADS_M = ${THREADS_M}u;
const THREADS_N = ${THREADS_N}u;
const THREADS = THREADS_M * THREADS_N;
const PIXELS4 = ${ROWS4}u * THREADS_M;
const COLUMNS4 = ${COLS4}u * THREADS_N;

#import grid.wgsl
#import activation.wgsl
#import conv_store.wgsl
#if reduce
var<workgroup> tile_a: array<vec4<f32>, THREADS_M * COLUMNS4>;
#else
#import conv_load.wgsl
const DEPTH = ${DEPTH}u;
const DEPTH4 = DEPTH / 4u;
// Tiles of both matrices, with a row for each term.
var<workgroup> tile_a: array<vec4<f32>, DEPTH * PIXELS4>;
var<workgroup> tile_b: array<vec4<f32>, DEPTH * COLUMNS4>;
#end

#if stats
// Returns the sum of the values that the threads of a column stored in tile_a.
fn total(column4: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var m = 0u; m < THREADS_M; m += 1u) {
        sum += tile_a[m * COLUMNS4 + column4];
    }
    return sum;
}
#end

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = workgroup_index(workgroup);
    let first_column4 = tile % params.column_tiles * COLUMNS4;
    let first_pixel = tile / params.column_tiles % params.pixel_tiles * 4u * PIXELS4;
    // The index of a sample, or of a split of it.
    let image = tile / params.column_tiles / params.pixel_tiles;
#if reduce
    let sample = params.first_sample + image;
    let first_row = sample * params.pixels;
#else
    let sample = params.first_sample + image / params.splits;
    let first_row = image * params.pixels;
#end
    if sample >= params.first_sample + params.samples {
        return;
    }
    // The thread's position in the tile. Its fours of pixels are THREADS_M apart and its fours of columns THREADS_N
    // apart, so that adjacent threads access adjacent memory.
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
        let first_sum = (image * params.splits + split) * params.pixels;
#for i in 0..$ROWS4
#for j in 0..4
#for c in 0..$COLS4
        {
            // Indices beyond the last pixel or column repeat the last one.
            let pixel = min(first_pixel + 4u * (m + ${i}u * THREADS_M) + ${j}u, params.pixels - 1u);
            let column4 = min(first_column4 + n + ${c}u * THREADS_N, columns4 - 1u);
            sum_$i$j_$c += partials[(first_sum + pixel) * columns4 + column4];
        }
#end
#end
#end
    }
#else
    let begin = image % params.splits * params.split_depth;
    let end = min(begin + params.split_depth, params.depth);
    // A thread loads the same 4 of every DEPTH terms, for A_LOADS fours of pixels. It permutes the fours within their
    // row of the tile, depending on the term, so that adjacent threads write to different banks.
    let term4 = local % DEPTH4;
    var term = term_at(begin + 4u * term4);
#for i in 0..$A_LOADS
    let pixel4_$i = local / DEPTH4 + ${i}u * (THREADS / DEPTH4);
    let place_$i = 4u * term4 * PIXELS4 + (pixel4_$i ^ (2u * (term4 % 4u)));
    let pixels_$i = pixels_at(first_pixel + 4u * pixel4_$i);
    var block_$i: Block;
    if pixel4_$i < PIXELS4 {
        block_$i = load(sample, pixels_$i, term);
    }
#end
#for i in 0..$B_LOADS
    let weight_term_$i = (local + ${i}u * THREADS) / COLUMNS4;
    let weights_$i = weights_of(first_column4 + (local + ${i}u * THREADS) % COLUMNS4);
    var weight_$i = load_weight(weights_$i, begin + weight_term_$i);
#end

    for (var k = begin; k < end; k += DEPTH) {
#for i in 0..$A_LOADS
        if pixel4_$i < PIXELS4 {
            let terms = terms_of(block_$i);
#for k in 0..4
            tile_a[place_$i + ${k}u * PIXELS4] = terms[$k];
#end
        }
#end
#for i in 0..$B_LOADS
        if weight_term_$i < DEPTH {
            tile_b[local + ${i}u * THREADS] = weight4(weight_$i);
        }
#end
        workgroupBarrier();

        if k + DEPTH < end {
            term = advance(term, DEPTH);
#for i in 0..$A_LOADS
            if pixel4_$i < PIXELS4 {
                block_$i = load(sample, pixels_$i, term);
            }
#end
#for i in 0..$B_LOADS
            weight_$i = load_weight(weights_$i, k + DEPTH + weight_term_$i);
#end
        }

        for (var k4 = 0u; k4 < DEPTH4; k4 += 1u) {
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
#for i in 0..$ROWS4
#for j in 0..4
    let pixel_$i$j = first_pixel + 4u * (m + ${i}u * THREADS_M) + ${j}u;
    if pixel_$i$j < params.pixels {
        let residual_row = residual_row_of(sample, pixel_$i$j);
#for c in 0..$COLS4
        if column_$c < params.end_column {
            sum_$i$j_$c = store(first_row + pixel_$i$j, residual_row, column_$c, sum_$i$j_$c + added_$c);
        }
#end
    }
#end
#end

#if stats
    // For every 64 pixels: the mean, and then the sum of squared differences from it, from the registers.
    let stats_tiles = (params.pixels + STATS_TILE - 1u) / STATS_TILE;
    for (var t = first_pixel / STATS_TILE; t < (first_pixel + 4u * PIXELS4) / STATS_TILE; t += 1u) {
        let count = f32(clamp(params.pixels, STATS_TILE * t + 1u, STATS_TILE * t + STATS_TILE) - STATS_TILE * t);
#for c in 0..$COLS4
        let at_$c = n + ${c}u * THREADS_N;
        var part_$c = vec4(0.0);
#end
#for i in 0..$ROWS4
#for j in 0..4
        let counts_$i$j = pixel_$i$j / STATS_TILE == t && pixel_$i$j < params.pixels;
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
        if m == 0u && t < stats_tiles {
            let row = 2u * (sample * stats_tiles + t);
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
