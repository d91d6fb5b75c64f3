// One workgroup per 16 keys, key-value head and slice of the head's width.

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    kv_head = group.y;
    let slice0 = group.z * SLICE;
    let row0 = group.x * ROWS;
    let row = row0 + lane / LANES;
    let end = queries_end(row0 + ROWS - 1u);
    var key_sums: array<vec4<f32>, 4>;
    var value_sums: array<vec4<f32>, 4>;
    for (var col0 = row0 * group_len(); col0 < end; col0 += COLS) {
        let scores = products(0u, lane, row0, col0);
        let dp = products(1u, lane, row0, col0);
        let cols = vec4<u32>(0u, 8u, 16u, 24u) + col0 + lane % LANES;
        var known: array<vec2<f32>, 4>;
        for (var j = 0u; j < 4u; j++) {
            known[j] = statistics(cols[j]);
        }
        let lses = vec4<f32>(known[0].x, known[1].x, known[2].x, known[3].x);
        let deltas = vec4<f32>(known[0].y, known[1].y, known[2].y, known[3].y);
        let shares = four_weights(cols, vec4<u32>(row), scores, lses);
        let slopes = four_slopes(cols, shares, dp, deltas);
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
