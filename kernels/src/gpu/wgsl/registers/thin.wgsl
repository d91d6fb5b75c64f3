// A tile of 32 x 8 of a product with few columns.

/// Four terms of row `m`.
fn a_terms(m: u32, k: u32, end: u32) -> vec4<f32> {
    let terms = vec4<u32>(0u, 1u, 2u, 3u) + k;
    let inside = terms < vec4<u32>(end);
    let at = select(vec4<u32>(k), terms, inside) * sizes.a_k + min(m, sizes.m - 1u) * sizes.a_m;
    return select(vec4<f32>(0.0), vec4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]), inside);
}

/// Four terms of column `n`.
fn b_terms(n: u32, k: u32, end: u32) -> vec4<f32> {
    let terms = vec4<u32>(0u, 1u, 2u, 3u) + k;
    let inside = terms < vec4<u32>(end);
    let at = select(vec4<u32>(k), terms, inside) * sizes.b_k + min(n, sizes.n - 1u) * sizes.b_n;
    return select(vec4<f32>(0.0), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = group.x * ROWS + lane;
    let n0 = group.y * 8u;
    let mine = n0 + member();
    let first = group.z * sizes.part;
    let end = min(first + sizes.part, sizes.k);
    // Of four columns each.
    var sums: array<mat4x4<f32>, 2>;
    for (var k = first; k < end; k += 4u) {
        let rows = mat4x4<f32>(
            a_terms(m, k, end),
            a_terms(m + APART, k, end),
            a_terms(m + 2u * APART, k, end),
            a_terms(m + 3u * APART, k, end),
        );
        sums[0] += transpose(of_members(b_terms(mine, k, end))) * rows;
        sums[1] += transpose(of_members(b_terms(mine + 4u, k, end))) * rows;
    }
    for (var i = 0u; i < 2u; i++) {
        for (var j = 0u; j < 4u; j++) {
            for (var l = 0u; l < 4u; l++) {
                finish(group.z, m + j * APART, n0 + 4u * i + l, sums[i][j][l]);
            }
        }
    }
}
