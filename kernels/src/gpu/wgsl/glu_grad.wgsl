// Gradients of gate and up. They may take the places of gate and up.

struct Sizes {
    len: u32,
    activation: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;
@group(0) @binding(1) var<storage, read_write> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(4) var<storage, read_write> dup: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups) * 64u + lane;
    if i < sizes.len {
        let act = activate(sizes.activation, gate[i]);
        let u = up[i];
        dgate[i] = dy[i] * u * act.y;
        dup[i] = dy[i] * act.x;
    }
}
