// `dq`: rows are queries, columns keys. Grid as in `attention`.

@group(0) @binding(6) var<storage, read_write> dq: array<f32>;

fn left(operand: u32, row: u32, d: u32) -> f32 {
    return query_element(operand, row, d);
}

fn right(operand: u32, col: u32, d: u32) -> f32 {
    return key_element(operand, col, d);
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
    let last = position(min(row0 + ROWS, queries()) - 1u);
    var sums: array<vec4<f32>, 4>;
    for (var col0 = first_seen(position(row0)); col0 <= last; col0 += COLS) {
        let scores = products(0u, lane, row0, col0);
        let dp = products(1u, lane, row0, col0);
        var slopes: vec4<f32>;
        for (var j = 0u; j < 4u; j++) {
            let col = col0 + j * LANES + lane % LANES;
            slopes[j] = weight_and_slope(row, col, scores[j], dp[j]).y;
        }
        put_weights(lane, slopes);
        gather(0u, lane, col0, slice0, &sums);
    }
    if row >= queries() {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let d = slice0 + i * CHUNK + j * LANES + lane % LANES;
            if d < sizes.width {
                dq[query(row, kv_head) * sizes.width + d] = sums[i][j];
            }
        }
    }
}
