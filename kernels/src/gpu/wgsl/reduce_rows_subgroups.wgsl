// Four sums over a workgroup of 64, of four components each, with subgroup operations. Nothing is
// assumed about the size of a subgroup, nor about which invocations are in it.

var<workgroup> lane_sums: array<vec4<f32>, 256>;

/// To invocations 0 to 15: component `lane % 4` of sum `lane / 4`.
fn row_total(lane: u32, sums: ptr<function, array<vec4<f32>, 4>>) -> f32 {
    let mine = subgroupExclusiveAdd(1u);
    let size = subgroupAdd(1u);
    for (var r = 0u; r < 4u; r++) {
        let part = subgroupAdd((*sums)[r]);
        // One invocation of every subgroup speaks for it.
        lane_sums[r * 64u + lane] = select(vec4<f32>(0.0), part, mine == 0u);
    }
    workgroupBarrier();
    var all: array<vec4<f32>, 4>;
    for (var r = 0u; r < 4u; r++) {
        var some = vec4<f32>(0.0);
        for (var i = mine; i < 64u; i += size) {
            some += lane_sums[r * 64u + i];
        }
        all[r] = subgroupAdd(some);
    }
    return all[lane / 4u % 4u][lane % 4u];
}
