// Sums and maxima over a workgroup of 64, with subgroup operations. Nothing is assumed about the
// size of a subgroup, nor about which invocations are in it.

var<workgroup> lanes: array<f32, 64>;

fn total(lane: u32, value: f32) -> f32 {
    let mine = subgroupExclusiveAdd(1u);
    let size = subgroupAdd(1u);
    let part = subgroupAdd(value);
    // One invocation of every subgroup speaks for it.
    lanes[lane] = select(0.0, part, mine == 0u);
    workgroupBarrier();
    var some = 0.0;
    for (var i = mine; i < 64u; i += size) {
        some += lanes[i];
    }
    let sum = subgroupAdd(some);
    workgroupBarrier();
    return sum;
}

fn largest(lane: u32, value: f32) -> f32 {
    let mine = subgroupExclusiveAdd(1u);
    let size = subgroupAdd(1u);
    lanes[lane] = subgroupMax(value);
    workgroupBarrier();
    var some = lanes[mine];
    for (var i = mine; i < 64u; i += size) {
        some = max(some, lanes[i]);
    }
    let most = subgroupMax(some);
    workgroupBarrier();
    return most;
}
