// Rounds rows to bytes, with a scale per unit of 32 columns: one invocation per unit. A unit becomes
// ten words: eight of bytes, its scale, and its sum after rounding.

struct Sizes {
    rows: u32,
    cols: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> rounded: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let units = ceil_div(sizes.cols, 32u);
    let i = flat(group, groups) * 64u + lane;
    let row = i / units;
    if row >= sizes.rows {
        return;
    }
    let col0 = i % units * 32u;
    let first = row * sizes.cols + col0;
    let count = min(32u, sizes.cols - col0);
    var most = 0.0;
    for (var j = 0u; j < count; j++) {
        most = max(most, abs(x[first + j]));
    }
    let scale = most / 127.0;
    let inverse = select(0.0, 127.0 / most, most > 0.0);
    var sum = 0;
    for (var word = 0u; word < 8u; word++) {
        var bytes = vec4<i32>(0);
        for (var j = 0u; j < 4u; j++) {
            if word * 4u + j < count {
                bytes[j] = i32(round(x[first + word * 4u + j] * inverse));
            }
        }
        sum += bytes.x + bytes.y + bytes.z + bytes.w;
        rounded[i * 10u + word] = pack4xI8(bytes);
    }
    rounded[i * 10u + 8u] = bitcast<u32>(scale);
    rounded[i * 10u + 9u] = bitcast<u32>(scale * f32(sum));
}
