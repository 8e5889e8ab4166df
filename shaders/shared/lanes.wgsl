// Workgroups of 32 channels, whose loads are adjacent, by 8 lanes that divide the pixels among them.

const CHANNELS = ${LANE_CHANNELS}u;
const LANES = ${THREADS}u / CHANNELS;

var<workgroup> of_lanes: array<f32, $THREADS>;

// Returns the sum of a channel's lanes to all of them. It is added in order, which is the same on every device.
fn sum_of_lanes(local: u32, of_lane: f32) -> f32 {
    of_lanes[local] = of_lane;
    workgroupBarrier();
    var sum = 0.0;
    for (var at = local % CHANNELS; at < CHANNELS * LANES; at += CHANNELS) {
        sum += of_lanes[at];
    }
    // The next sum may overwrite the values only when all lanes have read them.
    workgroupBarrier();
    return sum;
}
