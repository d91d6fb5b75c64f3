// Causal attention with an online softmax (FlashAttention-2, arXiv 2307.08691): rows are queries,
// columns keys.

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
    var most = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    var out: Sums;
    for (var col0 = first_seen(position(row0)); col0 <= last; col0 += COLS) {
        var scores = products(0u, row, col0 + mine);
        for (var i = 0u; i < 4u; i++) {
            let at = position(row + i * APART);
            var now = most[i];
            for (var j = 0u; j < 4u; j++) {
                let cols = vec4<u32>(0u, 1u, 2u, 3u) + (col0 + 4u * j);
                let seen = (cols <= vec4<u32>(at)) & (cols >= vec4<u32>(first_seen(at)));
                let some = select(vec4<f32>(LOWEST), scores[j][i] * sizes.scale, seen);
                scores[j][i] = some;
                now = max(now, max(max(some.x, some.y), max(some.z, some.w)));
            }
            let shrink = exp(most[i] - now);
            most[i] = now;
            sum[i] *= shrink;
            for (var j = 0u; j < 4u; j++) {
                let some = scores[j][i];
                let shares = select(vec4<f32>(0.0), exp(some - now), some > vec4<f32>(LOWEST));
                scores[j][i] = shares;
                sum[i] += shares.x + shares.y + shares.z + shares.w;
            }
            for (var j = 0u; j < SLICE / 4u; j++) {
                out[j][i] *= shrink;
            }
        }
        gather(1u, col0 + mine, slice0, &scores, &out);
    }
    for (var i = 0u; i < 4u; i++) {
        if row + i * APART < queries() {
            let head = query(row + i * APART, kv_head);
            for (var j = 0u; j < SLICE / 4u; j++) {
                for (var k = 0u; k < 4u; k++) {
                    let d = slice0 + 4u * j + k;
                    if d < sizes.width {
                        o[head * sizes.width + d] = out[j][i][k] / sum[i];
                    }
                }
            }
            if slice0 == 0u {
                lse[head] = most[i] + log(sum[i]);
            }
        }
    }
}
