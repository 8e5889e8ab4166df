// Sums over the invocations that share a row of something: the 256 of a workgroup, or, on a CPU that plays a GPU, one (`alone`).

#if alone
const STEP = 1u;

fn total(local: u32, value: f32) -> f32 {
    return value;
}
#else
const STEP = 256u;

var<workgroup> tree: array<f32, 256>;

// The sum of all values, for every invocation: added as a tree, in the same order on every device.
fn total(local: u32, value: f32) -> f32 {
    tree[local] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            tree[local] += tree[local + half];
        }
    }
    workgroupBarrier();
    let sum = tree[0];
    // The next sum may overwrite it only when all have read it.
    workgroupBarrier();
    return sum;
}
#end
