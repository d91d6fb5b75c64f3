// `dx = r (w dy) - x r³ mean(x w dy)`, r the reciprocal root mean square. `dx` may be `dy`.

struct Sizes {
    cols: u32,
    /// Columns of a group.
    len: u32,
    eps: f32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.y * sizes.cols + group.x * sizes.len;
    var squares = 0.0;
    var products = 0.0;
    for (var i = lane; i < sizes.len; i += 64u) {
        let value = x[first + i];
        squares += value * value;
        products += value * w[i] * dy[first + i];
    }
    let n = f32(sizes.len);
    let r = 1.0 / sqrt(total(lane, squares) / n + sizes.eps);
    let slope = r * r * r * (total(lane, products) / n);
    for (var i = lane; i < sizes.len; i += 64u) {
        dx[first + i] = r * w[i] * dy[first + i] - x[first + i] * slope;
    }
}
