// A tile of 64 tokens times 64 results per workgroup of 256, 4 x 4 per invocation. Both factors
// come through workgroup memory, 32 terms of the sums at a time. A kernel fills the two tiles, and
// says by `finish` where a result goes.

var<workgroup> left_tile: array<f32, 2048>;
var<workgroup> right_tile: array<f32, 2048>;

/// Term `k` of token `t` of the tile.
fn put_left(k: u32, t: u32, value: f32) {
    left_tile[k * 64u + t] = value;
}

/// Term `k` of result `i` of the tile.
fn put_right(k: u32, i: u32, value: f32) {
    right_tile[k * 64u + i] = value;
}

/// Adds up the 32 terms that all invocations have put there.
fn multiply(lane: u32, sums: ptr<function, array<vec4<f32>, 4>>) {
    workgroupBarrier();
    let tx = (lane % 16u) * 4u;
    let ty = (lane / 16u) * 4u;
    for (var k = 0u; k < 32u; k++) {
        let at = k * 64u;
        let right = vec4<f32>(
            right_tile[at + tx],
            right_tile[at + tx + 1u],
            right_tile[at + tx + 2u],
            right_tile[at + tx + 3u],
        );
        (*sums)[0] += left_tile[at + ty] * right;
        (*sums)[1] += left_tile[at + ty + 1u] * right;
        (*sums)[2] += left_tile[at + ty + 2u] * right;
        (*sums)[3] += left_tile[at + ty + 3u] * right;
    }
    workgroupBarrier();
}

/// Hands the invocation's sums over: the tile begins at token `t0` and result `i0`.
fn finish_tile(lane: u32, t0: u32, i0: u32, sums: ptr<function, array<vec4<f32>, 4>>) {
    let tx = (lane % 16u) * 4u;
    let ty = (lane / 16u) * 4u;
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            finish(t0 + ty + i, i0 + tx + j, (*sums)[i][j]);
        }
    }
}
