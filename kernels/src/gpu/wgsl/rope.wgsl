// Turns pairs of columns by the angles of a table: one invocation per pair, or per column that
// stays. `y` may be `x`.

struct Sizes {
    tokens: u32,
    cols: u32,
    /// D.
    width: u32,
    dims: u32,
    interleaved: u32,
    /// 1, or -1 to turn backwards.
    sign: f32,
}
var<immediate> sizes: Sizes;

/// (T, dims): the cosines of a token's pairs, then the sines.
@group(0) @binding(0) var<storage, read> turns: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let half = sizes.dims / 2u;
    // Work of one head: its pairs, then the columns beyond them.
    let each = sizes.width - half;
    let per_token = sizes.cols / sizes.width * each;
    let i = flat(group, groups) * 64u + lane;
    let t = i / per_token;
    if t >= sizes.tokens {
        return;
    }
    let head = t * sizes.cols + (i % per_token) / each * sizes.width;
    let j = i % each;
    if j >= half {
        y[head + half + j] = x[head + half + j];
        return;
    }
    let interleaved = sizes.interleaved != 0u;
    let first = head + select(j, 2u * j, interleaved);
    let second = first + select(half, 1u, interleaved);
    let cosine = turns[t * sizes.dims + j];
    let sine = turns[t * sizes.dims + half + j] * sizes.sign;
    let a = x[first];
    let b = x[second];
    y[first] = a * cosine - b * sine;
    y[second] = a * sine + b * cosine;
}
