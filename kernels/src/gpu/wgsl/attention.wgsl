// Causal attention with an online softmax (FlashAttention-2, arXiv 2307.08691): rows are queries,
// columns keys. One workgroup per 16 queries, key-value head and slice of the head's width.

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    kv_head = group.y;
    let slice0 = group.z * SLICE;
    let row0 = group.x * ROWS;
    let row = row0 + lane / LANES;
    let at = position(row);
    let last = position(min(row0 + ROWS, queries()) - 1u);
    var most = LOWEST;
    var sum = 0.0;
    var out: array<vec4<f32>, 4>;
    for (var col0 = first_seen(position(row0)); col0 <= last; col0 += COLS) {
        let cols = vec4<u32>(0u, 8u, 16u, 24u) + col0 + lane % LANES;
        let seen = (cols <= vec4<u32>(at)) & (cols >= vec4<u32>(first_seen(at)));
        let scores = products(0u, lane, row0, col0) * sizes.scale;
        put_weights(lane, select(vec4<f32>(LOWEST), scores, seen));
        var now = most;
        for (var col = 0u; col < COLS; col++) {
            now = max(now, weights[lane / LANES * COLS + col]);
        }
        workgroupBarrier();
        put_weights(lane, select(vec4<f32>(0.0), exp(scores - now), seen));
        let shrink = exp(most - now);
        most = now;
        sum *= shrink;
        for (var col = 0u; col < COLS; col++) {
            sum += weights[lane / LANES * COLS + col];
        }
        for (var i = 0u; i < 4u; i++) {
            out[i] *= shrink;
        }
        gather(1u, lane, col0, slice0, &out);
    }
    if row >= queries() {
        return;
    }
    let head = query(row, kv_head);
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let d = slice0 + i * CHUNK + j * LANES + lane % LANES;
            if d < sizes.width {
                o[head * sizes.width + d] = out[i][j] / sum;
            }
        }
    }
    if slice0 == 0u && lane % LANES == 0u {
        lse[head] = most + log(sum);
    }
}
