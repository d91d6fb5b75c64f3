// `x Wᵀ` for many tokens: a tile of 64 tokens times 64 rows, 32 columns at a time.

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.x * 64u;
    let t0 = group.y * 64u;
    var sums: array<vec4<f32>, 8>;
    for (var unit = 0u; unit < sizes.page_units; unit++) {
        // Eight columns of one token and of one row at a time.
        for (var i = lane; i < 256u; i += INVOCATIONS) {
            let line = i / 4u;
            let part = i % 4u;
            var weights = Eight(vec4<f32>(0.0), vec4<f32>(0.0));
            if row0 + line < sizes.count {
                weights = eight(sizes.first + row0 + line, unit, part);
            }
            for (var j = 0u; j < 4u; j++) {
                put_right(part * 8u + j, line, weights.lo[j]);
                put_right(part * 8u + 4u + j, line, weights.hi[j]);
            }
            let col = unit * UNIT + part * 8u;
            for (var j = 0u; j < 8u; j++) {
                var value = 0.0;
                if t0 + line < sizes.tokens && col + j < sizes.page_cols {
                    value = x[(t0 + line) * sizes.page_cols + col + j];
                }
                put_left(part * 8u + j, line, value);
            }
        }
        multiply(lane, &sums);
    }
    finish_tile(lane, t0, row0, &sums);
}
