// `act(gate) up`. `y` may be `gate`.

struct Sizes {
    len: u32,
    activation: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;
@group(0) @binding(1) var<storage, read_write> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups) * 64u + lane;
    if i < sizes.len {
        y[i] = activate(sizes.activation, gate[i]).x * up[i];
    }
}
