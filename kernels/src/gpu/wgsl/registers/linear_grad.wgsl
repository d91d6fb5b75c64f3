// `dy W`: a tile of 32 tokens times 16 columns.

/// The gradient of four rows at token `t`.
fn token(t: u32, row: u32) -> vec4<f32> {
    let rows = vec4<u32>(0u, 1u, 2u, 3u) + row;
    let inside = rows < vec4<u32>(sizes.count);
    let first = min(t, sizes.tokens - 1u) * sizes.columns + sizes.column;
    let at = select(vec4<u32>(0u), rows, inside) + first;
    return select(vec4<f32>(0.0), vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]), inside);
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let col0 = group.x * 16u;
    let t = group.y * ROWS + lane;
    let mine = member();
    // Of four columns each.
    var sums: array<mat4x4<f32>, 4>;
    for (var row = 0u; row < sizes.count; row += 4u) {
        let slopes = mat4x4<f32>(
            token(t, row),
            token(t + APART, row),
            token(t + 2u * APART, row),
            token(t + 3u * APART, row),
        );
        let own = sizes.first + min(row + mine, sizes.count - 1u);
        for (var j = 0u; j < 2u; j++) {
            let part = col0 / 8u + j;
            let w = eight(own, min(part / 4u, sizes.page_units - 1u), part % 4u);
            sums[2u * j] += of_members(w.lo) * slopes;
            sums[2u * j + 1u] += of_members(w.hi) * slopes;
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            for (var k = 0u; k < 4u; k++) {
                finish(t + j * APART, col0 + 4u * i + k, sums[i][j][k]);
            }
        }
    }
}
