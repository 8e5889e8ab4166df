// advance: moves the sampler's state to the next step.

struct Params {
    grid_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<u32>; // [4]
@group(0) @binding(2) var<storage, read_write> next_state: array<u32>; // [4]

#import grid.wgsl

@compute @workgroup_size(4)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * 4u + local;
    if i >= 4u {
        return;
    }
    // Word 0 counts the steps; the other words are copied unchanged.
    next_state[i] = state[i] + select(0u, 1u, i == 0u);
}
