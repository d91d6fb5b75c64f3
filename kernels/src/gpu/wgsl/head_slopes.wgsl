// Turns a shard of logits into their gradient, in place: `dlogp (hit - softmax)`, 0 for tokens
// without a target.

struct Sizes {
    first: u32,
    count: u32,
    stride: u32,
    tokens: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> targets: array<u32>;
@group(0) @binding(1) var<storage, read_write> shard: array<f32>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(3) var<storage, read_write> dlogp: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups) * 64u + lane;
    let t = i / sizes.count;
    if t >= sizes.tokens {
        return;
    }
    let word = i % sizes.count;
    let at = t * sizes.stride + word;
    var slope = 0.0;
    if targets[t] != 0xffffffffu {
        let p = exp(shard[at] - statistics[4u * t]) / statistics[4u * t + 1u];
        slope = dlogp[t] * (select(0.0, 1.0, targets[t] == sizes.first + word) - p);
    }
    shard[at] = slope;
}
