// Sums over a team of `lanes` invocations that follow one another in a workgroup of 256, without
// subgroup operations.

var<workgroup> lane_sums: array<vec4<f32>, 256>;

/// The same for each of the team.
fn team_total(lane: u32, lanes: u32, value: vec4<f32>) -> vec4<f32> {
    lane_sums[lane] = value;
    workgroupBarrier();
    for (var stride = lanes / 2u; stride > 0u; stride >>= 1u) {
        if lane % lanes < stride {
            lane_sums[lane] += lane_sums[lane + stride];
        }
        workgroupBarrier();
    }
    let sum = lane_sums[lane - lane % lanes];
    workgroupBarrier();
    return sum;
}
