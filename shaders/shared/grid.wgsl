// Grids of more than 65,535 workgroups have two dimensions, and their last row may not be full: a kernel returns if
// its index is too large.

// Returns the index of a workgroup in a grid of params.grid_width columns.
fn workgroup_index(workgroup: vec3<u32>) -> u32 {
    return workgroup.y * params.grid_width + workgroup.x;
}
