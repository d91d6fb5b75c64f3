// `dk` and `dv`: rows are keys, columns the queries of all heads that read them. One workgroup per
// 16 keys, key-value head and slice of the head's width.

@group(0) @binding(6) var<storage, read_write> dk: array<f32>;
@group(0) @binding(7) var<storage, read_write> dv: array<f32>;

fn left(operand: u32, row: u32, d: u32) -> f32 {
    return key_element(operand, row, d);
}

fn right(operand: u32, col: u32, d: u32) -> f32 {
    return query_element(operand, col, d);
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    kv_head = group.y;
    let slice0 = group.z * SLICE;
    let row0 = group.x * ROWS;
    let row = row0 + lane / LANES;
    // Queries that see a key of the tile: from the first key's token to the window's end.
    let end = min(sizes.tokens, row0 + ROWS - 1u + min(sizes.window, sizes.tokens)) * group_len();
    var key_sums: array<vec4<f32>, 4>;
    var value_sums: array<vec4<f32>, 4>;
    for (var col0 = row0 * group_len(); col0 < end; col0 += COLS) {
        let scores = products(0u, lane, row0, col0);
        let dp = products(1u, lane, row0, col0);
        var shares: vec4<f32>;
        var slopes: vec4<f32>;
        for (var j = 0u; j < 4u; j++) {
            let col = col0 + j * LANES + lane % LANES;
            let both = weight_and_slope(col, row, scores[j], dp[j]);
            shares[j] = both.x;
            slopes[j] = both.y;
        }
        put_weights(lane, shares);
        gather(1u, lane, col0, slice0, &value_sums);
        put_weights(lane, slopes);
        gather(0u, lane, col0, slice0, &key_sums);
    }
    if row >= sizes.tokens {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let d = slice0 + i * CHUNK + j * LANES + lane % LANES;
            if d < sizes.width {
                let at = row * sizes.kv_stride + kv_head * sizes.width + d;
                dk[at] = key_sums[i][j];
                dv[at] = value_sums[i][j];
            }
        }
    }
}
