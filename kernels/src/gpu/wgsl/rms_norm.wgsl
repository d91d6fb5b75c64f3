// `w x / rms(x)` over a group of columns: one workgroup per group and token. `y` may be `x`.

struct Sizes {
    cols: u32,
    /// Columns of a group.
    len: u32,
    eps: f32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.y * sizes.cols + group.x * sizes.len;
    var squares = 0.0;
    for (var i = lane; i < sizes.len; i += 64u) {
        squares += x[first + i] * x[first + i];
    }
    let scale = 1.0 / sqrt(total(lane, squares) / f32(sizes.len) + sizes.eps);
    for (var i = lane; i < sizes.len; i += 64u) {
        y[first + i] = x[first + i] * scale * w[i];
    }
}
