// Sums over a team of `lanes` invocations that follow one another in a workgroup of 256, with
// subgroup operations where a subgroup is within a team. Nothing is assumed about the size of a
// subgroup, nor about which invocations are in it.

var<workgroup> lane_sums: array<vec4<f32>, 256>;

/// The same for each of the team.
fn team_total(lane: u32, lanes: u32, value: vec4<f32>) -> vec4<f32> {
    let team = lane / lanes;
    let within = subgroupMin(team) == subgroupMax(team);
    let mine = subgroupExclusiveAdd(1u);
    let size = subgroupAdd(1u);
    let part = subgroupAdd(value);
    // Within a team, one invocation of every subgroup speaks for it; else each for itself.
    lane_sums[lane] = select(value, select(vec4<f32>(0.0), part, mine == 0u), within);
    workgroupBarrier();
    var some = vec4<f32>(0.0);
    for (var i = select(0u, mine, within); i < lanes; i += select(1u, size, within)) {
        some += lane_sums[team * lanes + i];
    }
    let sum = subgroupAdd(some);
    workgroupBarrier();
    return select(some, sum, within);
}
