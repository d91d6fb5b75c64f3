// `delta (T,H)`, the dot product of a head's output with its gradient: eight lanes per head.

struct Sizes {
    /// T H.
    len: u32,
    width: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> o: array<f32>;
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;

var<workgroup> lane_sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = flat(group, groups) * 8u + lane / 8u;
    var sum = 0.0;
    if head < sizes.len {
        for (var d = lane % 8u; d < sizes.width; d += 8u) {
            sum += o[head * sizes.width + d] * dy[head * sizes.width + d];
        }
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    if lane % 8u == 0u && head < sizes.len {
        for (var i = 1u; i < 8u; i++) {
            sum += lane_sums[lane + i];
        }
        delta[head] = sum;
    }
}
