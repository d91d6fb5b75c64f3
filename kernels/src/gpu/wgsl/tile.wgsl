// A tile of 64 tokens times 64 results per workgroup of 128, 8 x 4 per invocation. Both factors
// come through workgroup memory, 32 terms of the sums at a time: the weight's as `Weight`, what it
// is multiplied with as f32, since an activation or a gradient may be of any size. Products and
// sums are f32. A kernel fills the two tiles, and says by `finish` where a result goes.

const INVOCATIONS: u32 = 128u;

var<workgroup> left_tile: array<f32, 2048>;
var<workgroup> right_tile: array<Weight, 2048>;

/// Term `k` of token `t` of the tile.
fn put_left(k: u32, t: u32, value: f32) {
    left_tile[k * 64u + t] = value;
}

/// Term `k` of result `i` of the tile.
fn put_right(k: u32, i: u32, value: f32) {
    right_tile[k * 64u + i] = Weight(value);
}

/// Adds up the 32 terms that all invocations have put there. An invocation's tokens are 8 apart and
/// its results 16, so that neighbours read neighbouring words.
fn multiply(lane: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    workgroupBarrier();
    for (var k = 0u; k < 32u; k++) {
        let t = k * 64u + lane / 16u;
        let i = k * 64u + lane % 16u;
        let right = vec4<f32>(
            f32(right_tile[i]),
            f32(right_tile[i + 16u]),
            f32(right_tile[i + 32u]),
            f32(right_tile[i + 48u]),
        );
        (*sums)[0] += left_tile[t] * right;
        (*sums)[1] += left_tile[t + 8u] * right;
        (*sums)[2] += left_tile[t + 16u] * right;
        (*sums)[3] += left_tile[t + 24u] * right;
        (*sums)[4] += left_tile[t + 32u] * right;
        (*sums)[5] += left_tile[t + 40u] * right;
        (*sums)[6] += left_tile[t + 48u] * right;
        (*sums)[7] += left_tile[t + 56u] * right;
    }
    workgroupBarrier();
}
