// Log-probability of every token's target, 0 without one.

struct Sizes {
    tokens: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> targets: array<u32>;
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(2) var<storage, read_write> logp: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let t = flat(group, groups) * 64u + lane;
    if t >= sizes.tokens {
        return;
    }
    var value = 0.0;
    if targets[t] != 0xffffffffu {
        value = statistics[4u * t + 2u] - statistics[4u * t] - log(statistics[4u * t + 1u]);
    }
    logp[t] = value;
}
