// noise: standard normals, each a function of the seed, the step, the sample's index in the run and the element's
// index in the sample. An invocation computes the four elements of one block of the generator.

struct Params {
    grid_width: u32,
    batch: u32,
    // The number of elements of a sample.
    sample: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<u32>; // [4]: step, first sample's index in the run, seed
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [n, sample]

#import grid.wgsl
#import philox.wgsl

// The purpose of the noise: 0 for the initial image, which has no step; 1 for the noise of a step.
override STREAM: u32;

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(workgroup) * ${THREADS}u + local;
    let blocks = (params.sample + 3u) / 4u;
    let n = i / blocks;
    if n >= params.batch {
        return;
    }
    let block = i % blocks;
    let step = select(state[0], 0u, STREAM == 0u);
    let counter = vec4(block, state[1] + n, step, STREAM);
    let four = normals(counter, vec2(state[2], state[3]));
    let begin = block * 4u;
#for k in 0..4
    if begin + ${k}u < params.sample {
        output[n * params.sample + begin + ${k}u] = four[$k];
    }
#end
}
