// Sums and maxima over a workgroup of 64, without subgroup operations.

var<workgroup> lanes: array<f32, 64>;

fn total(lane: u32, value: f32) -> f32 {
    lanes[lane] = value;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride >>= 1u) {
        if lane < stride {
            lanes[lane] += lanes[lane + stride];
        }
        workgroupBarrier();
    }
    let sum = lanes[0];
    workgroupBarrier();
    return sum;
}

fn largest(lane: u32, value: f32) -> f32 {
    lanes[lane] = value;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride >>= 1u) {
        if lane < stride {
            lanes[lane] = max(lanes[lane], lanes[lane + stride]);
        }
        workgroupBarrier();
    }
    let most = lanes[0];
    workgroupBarrier();
    return most;
}
