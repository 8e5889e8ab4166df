// Grids of more than 65,535 workgroups lie in two dimensions, and the last row of them is not full: a
// kernel returns where its index is too large.

// The index of a workgroup in a grid of params.grid_width columns.
fn workgroup_index(workgroup: vec3<u32>) -> u32 {
    return workgroup.y * params.grid_width + workgroup.x;
}
