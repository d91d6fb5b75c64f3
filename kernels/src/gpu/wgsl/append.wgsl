// Writes new keys and values into their caches.

struct Sizes {
    tokens: u32,
    pos: u32,
    cols: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> k: array<f32>;
@group(0) @binding(1) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let per_row = ceil_div(sizes.cols, EACH);
    let i = flat(group, groups) * 64u + lane;
    let t = i / per_row;
    if t >= sizes.tokens {
        return;
    }
    let col = i % per_row * EACH;
    let at = t * sizes.cols + col;
    var new_key = vec2<f32>(k[at], 0.0);
    var new_value = vec2<f32>(v[at], 0.0);
    if EACH == 2u && col + 1u < sizes.cols {
        new_key.y = k[at + 1u];
        new_value.y = v[at + 1u];
    }
    store((sizes.pos + t) * per_row + i % per_row, new_key, new_value);
}
