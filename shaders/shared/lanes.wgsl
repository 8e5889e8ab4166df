// Workgroups of 32 channels, whose loads lie side by side, by 8 lanes that share the pixels among them.

const CHANNELS = ${LANE_CHANNELS}u;
const LANES = ${THREADS}u / CHANNELS;

var<workgroup> of_lanes: array<f32, $THREADS>;

// The sum of a channel's lanes, for all of them: added in order, the same on every device.
fn sum_of_lanes(local: u32, of_lane: f32) -> f32 {
    of_lanes[local] = of_lane;
    workgroupBarrier();
    var sum = 0.0;
    for (var at = local % CHANNELS; at < CHANNELS * LANES; at += CHANNELS) {
        sum += of_lanes[at];
    }
    // The next sum may overwrite them only when all have read them.
    workgroupBarrier();
    return sum;
}
