// dense: rows times a matrix. There are few rows and many weights, and each weight is read once, so the kernel is
// limited by memory bandwidth.
//
// A workgroup computes COLUMNS4 fours of columns for ROWS rows. Its threads divide the depth: SLICES of them share
// one four of columns, and each has its own sums for all rows, so that adjacent threads read adjacent weights. At
// the end the slices' sums are added up. The order of a sum depends only on the matrix, not on the number of rows.

struct Params {
    grid_width: u32,
    // The grid: tiles of columns, blocks of rows. Blocks of rows vary fastest, because neighbours then share weights.
    column_tiles: u32,
    row_blocks: u32,
    rows: u32,
    in_features: u32,
    out_features: u32,
    // The first column of the bound part of the weight.
    first_column: u32,
    // 0 if there is none; another buffer is then bound in its place and not read.
    bias: u32,
    residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#if narrow_in
@group(0) @binding(1) var<storage, read> source: array<f32>; // [rows, in_features]
#else
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>; // [rows, in_features]
#end
#if half
@group(0) @binding(2) var<storage, read> weight: array<Half4>; // [panels, in_features, 64]
#else
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>; // [panels, in_features, 64]
#end
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [out_features]
@group(0) @binding(4) var<storage, read> residual: array<f32>; // [rows, out_features]
@group(0) @binding(5) var<storage, read_write> output: array<f32>; // [rows, out_features]

#import grid.wgsl
#import activation.wgsl

#if half
#import half.wgsl
#end

override ACTIVATION: u32;

const THREADS = 128u;
const ROWS = ${ROWS}u;
const COLUMNS4 = ${COLUMNS4}u;
const SLICES = THREADS / COLUMNS4;
// The number of fours of columns in a panel.
const PANEL4 = ${PANEL}u / 4u;

var<workgroup> sums: array<vec4<f32>, ROWS * THREADS>;

fn load_weight(at: u32) -> vec4<f32> {
#if half
    return widen(weight[at]);
#else
    return weight[at];
#end
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup_index(workgroup);
    if index >= params.column_tiles * params.row_blocks {
        return;
    }
    let first_row = index % params.row_blocks * ROWS;
    let column4 = index / params.row_blocks * COLUMNS4 + local % COLUMNS4;
    let slice = local / COLUMNS4;

    let first_weight = column4 / PANEL4 * params.in_features * PANEL4 + column4 % PANEL4;
#for r in 0..$ROWS
    // Rows beyond the last repeat it.
    let source_$r = min(first_row + ${r}u, params.rows - 1u) * params.in_features;
    var sum_$r = vec4(0.0);
#end
#if narrow_in
    for (var k = slice; k < params.in_features; k += SLICES) {
        let w = load_weight(first_weight + k * PANEL4);
#for r in 0..$ROWS
        sum_$r = fma(vec4(source[source_$r + k]), w, sum_$r);
#end
    }
#else
    for (var k = 4u * slice; k < params.in_features; k += 4u * SLICES) {
#for r in 0..$ROWS
        let x_$r = source[(source_$r + k) / 4u];
#end
#for j in 0..4
        let w_$j = load_weight(first_weight + (k + ${j}u) * PANEL4);
#for r in 0..$ROWS
        sum_$r = fma(vec4(x_$r[$j]), w_$j, sum_$r);
#end
#end
    }
#end

#for r in 0..$ROWS
    sums[${r}u * THREADS + local] = sum_$r;
#end
    for (var half = THREADS / 2u; half >= COLUMNS4; half /= 2u) {
        workgroupBarrier();
        if local < half {
#for r in 0..$ROWS
            sums[${r}u * THREADS + local] += sums[${r}u * THREADS + local + half];
#end
        }
    }
    workgroupBarrier();

    // There are at least as many slices as rows: each slice stores one row.
    let row = first_row + slice;
    if slice < ROWS && row < params.rows {
        let total = sums[slice * THREADS + local % COLUMNS4];
        let column = params.first_column + 4u * column4;
#for j in 0..4
        if column + ${j}u < params.out_features {
            var value = total[$j];
            if params.bias != 0u {
                value += bias[column + ${j}u];
            }
            if params.residual != 0u {
                value += residual[row * params.out_features + column + ${j}u];
            }
            output[row * params.out_features + column + ${j}u] = activate(ACTIVATION, value);
        }
#end
    }
}
