// not_finite: 1 for each tile of TILE elements that contains NaN or an infinity, else 0.

struct Params {
    grid_width: u32,
    // The number of elements of the source.
    elements: u32,
}

// The number of elements of a tile, NotFinite::TILE in Rust.
override TILE: u32;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>; // [n, h, w, c], the floats' bits
@group(0) @binding(2) var<storage, read_write> output: array<u32>; // [elements / TILE, rounded up]

#import finite.wgsl
#import grid.wgsl

var<workgroup> found: atomic<u32>;

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let tile = workgroup_index(workgroup);
    if tile >= (params.elements + TILE - 1u) / TILE {
        return;
    }
    if local == 0u {
        atomicStore(&found, 0u);
    }
    workgroupBarrier();
    let end = min((tile + 1u) * TILE, params.elements);
    for (var i = tile * TILE + local; i < end; i += ${THREADS}u) {
        if !is_finite(source[i]) {
            atomicStore(&found, 1u);
        }
    }
    workgroupBarrier();
    if local == 0u {
        output[tile] = atomicLoad(&found);
    }
}
