// Adds up the parts that `thin` left, in order: `c(m,n) = scale * sum of parts`.

struct Sizes {
    m: u32,
    n: u32,
    c_m: u32,
    c_n: u32,
    parts: u32,
    scale: f32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups) * 64u + lane;
    let len = sizes.m * sizes.n;
    if i >= len {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < sizes.parts; part++) {
        sum += parts[part * len + i];
    }
    c[(i / sizes.n) * sizes.c_m + (i % sizes.n) * sizes.c_n] = sizes.scale * sum;
}
