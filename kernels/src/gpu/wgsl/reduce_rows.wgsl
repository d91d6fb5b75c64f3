// Four sums over a workgroup of 64, of four components each, without subgroup operations.

var<workgroup> lane_sums: array<vec4<f32>, 256>;

/// To invocations 0 to 15: component `lane % 4` of sum `lane / 4`.
fn row_total(lane: u32, sums: ptr<function, array<vec4<f32>, 4>>) -> f32 {
    for (var r = 0u; r < 4u; r++) {
        lane_sums[r * 64u + lane] = (*sums)[r];
    }
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride >>= 1u) {
        if lane < stride {
            for (var r = 0u; r < 4u; r++) {
                lane_sums[r * 64u + lane] += lane_sums[r * 64u + lane + stride];
            }
        }
        workgroupBarrier();
    }
    return lane_sums[lane / 4u % 4u * 64u][lane % 4u];
}
