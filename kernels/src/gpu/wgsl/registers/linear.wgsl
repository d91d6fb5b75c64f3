// `x Wᵀ` for many tokens: a tile of 32 tokens times 16 rows.

/// Four columns of the invocation's tokens.
fn tokens(t: u32, col: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        token(t, col),
        token(t + APART, col),
        token(t + 2u * APART, col),
        token(t + 3u * APART, col),
    );
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.x * 16u;
    let t = group.y * ROWS + lane;
    let mine = row0 + member();
    // Of four rows each.
    var sums: array<mat4x4<f32>, 4>;
    for (var i = 0u; i < sizes.page_units * 4u; i++) {
        let lo = tokens(t, i * 8u);
        let hi = tokens(t, i * 8u + 4u);
        for (var j = 0u; j < 4u; j++) {
            let row = min(mine + 4u * j, sizes.count - 1u);
            let w = eight(sizes.first + row, i / 4u, i % 4u);
            sums[j] += transpose(of_members(w.lo)) * lo + transpose(of_members(w.hi)) * hi;
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            for (var k = 0u; k < 4u; k++) {
                finish(t + j * APART, row0 + 4u * i + k, sums[i][j][k]);
            }
        }
    }
}
