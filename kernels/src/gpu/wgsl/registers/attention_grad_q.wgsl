// `dq`: rows are queries, columns keys.

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    kv_head = group.y;
    let slice0 = group.z * SLICE;
    let row0 = group.x * ROWS;
    let row = row0 + lane;
    let mine = member();
    let last = position(min(row0 + ROWS, queries()) - 1u);
    var sums: Sums;
    for (var col0 = first_seen(position(row0)); col0 <= last; col0 += COLS) {
        var slopes = products(0u, row, col0 + mine);
        var dp = products(1u, row, col0 + mine);
        for (var i = 0u; i < 4u; i++) {
            let query = vec4<u32>(row + i * APART);
            let known = statistics(row + i * APART);
            for (var j = 0u; j < 4u; j++) {
                let keys = vec4<u32>(0u, 1u, 2u, 3u) + (col0 + 4u * j);
                let shares = four_weights(query, keys, slopes[j][i], vec4<f32>(known.x));
                slopes[j][i] = four_slopes(query, shares, dp[j][i], vec4<f32>(known.y));
            }
        }
        gather(0u, col0 + mine, slice0, &slopes, &sums);
    }
    for (var i = 0u; i < 4u; i++) {
        let first = query(row + i * APART, kv_head) * sizes.width;
        for (var j = 0u; j < SLICE / 4u; j++) {
            for (var k = 0u; k < 4u; k++) {
                let d = slice0 + 4u * j + k;
                if row + i * APART < queries() && d < sizes.width {
                    dq[first + d] = sums[j][i][k];
                }
            }
        }
    }
}
