// `dk` and `dv`: rows are keys, columns the queries of all heads that read them.

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
    let end = queries_end(row0 + ROWS - 1u);
    var key_sums: Sums;
    var value_sums: Sums;
    for (var col0 = row0 * group_len(); col0 < end; col0 += COLS) {
        var shares = products(0u, row, col0 + mine);
        var slopes = products(1u, row, col0 + mine);
        for (var j = 0u; j < 4u; j++) {
            let queries = vec4<u32>(0u, 1u, 2u, 3u) + (col0 + 4u * j);
            let own = statistics(col0 + mine + 4u * j);
            let known = transpose(of_members(vec4<f32>(own, 0.0, 0.0)));
            for (var i = 0u; i < 4u; i++) {
                let key = vec4<u32>(row + i * APART);
                shares[j][i] = four_weights(queries, key, shares[j][i], known[0]);
                slopes[j][i] = four_slopes(queries, shares[j][i], slopes[j][i], known[1]);
            }
        }
        gather(1u, col0 + mine, slice0, &shares, &value_sums);
        gather(0u, col0 + mine, slice0, &slopes, &key_sums);
    }
    for (var i = 0u; i < 4u; i++) {
        let first = (row + i * APART) * sizes.kv_stride + kv_head * sizes.width;
        for (var j = 0u; j < SLICE / 4u; j++) {
            for (var k = 0u; k < 4u; k++) {
                let d = slice0 + 4u * j + k;
                if row + i * APART < sizes.tokens && d < sizes.width {
                    dk[first + d] = key_sums[j][i][k];
                    dv[first + d] = value_sums[j][i][k];
                }
            }
        }
    }
}
