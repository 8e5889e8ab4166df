// embedding: one row of a table for each sample.

struct Params {
    grid_width: u32,
    // The number of elements of the result.
    elements: u32,
    channels: u32,
    table_rows: u32,
    // 1 if each sample has its own index; 0 if all use the first, which is the state's step.
    index_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [table_rows, channels]
@group(0) @binding(2) var<storage, read> indices: array<u32>; // [n], or the state [4]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [n, channels]

#import grid.wgsl

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    if i >= params.elements {
        return;
    }
    let n = i / params.channels;
    let c = i % params.channels;
    // Indices beyond the table read its last row.
    let row = min(indices[n * params.index_stride], params.table_rows - 1u);
    output[i] = table[row * params.channels + c];
}
