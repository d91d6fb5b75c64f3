// Grid as in `attention`.

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
    let known = statistics(row);
    var sums: array<vec4<f32>, 4>;
    for (var col0 = first_seen(position(row0)); col0 <= last; col0 += COLS) {
        let scores = products(0u, lane, row0, col0);
        let dp = products(1u, lane, row0, col0);
        let cols = vec4<u32>(0u, 8u, 16u, 24u) + col0 + lane % LANES;
        let shares = four_weights(vec4<u32>(row), cols, scores, vec4<f32>(known.x));
        let slopes = four_slopes(vec4<u32>(row), shares, dp, vec4<f32>(known.y));
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
