// Sums over the invocations of a workgroup.

const STEP = ${THREADS}u;

var<workgroup> tree: array<f32, $THREADS>;

// Returns the sum of all values to every invocation. It is added as a tree, in the same order on every device.
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
    // The next sum may overwrite the value only when all invocations have read it.
    workgroupBarrier();
    return sum;
}
