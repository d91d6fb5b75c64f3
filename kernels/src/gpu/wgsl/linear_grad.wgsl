// `dy W`: a tile of 64 tokens times 64 columns, 32 rows of the weight at a time, unpacked as the
// forward product unpacks them.

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let col0 = group.x * 64u;
    let t0 = group.y * 64u;
    var sums: array<vec4<f32>, 8>;
    for (var row0 = 0u; row0 < sizes.count; row0 += 32u) {
        for (var i = lane; i < 256u; i += INVOCATIONS) {
            // Eight columns of one row of the weight.
            let row = i / 8u;
            let unit = col0 / UNIT + i % 8u / 4u;
            var weights = Eight(vec4<f32>(0.0), vec4<f32>(0.0));
            if row0 + row < sizes.count && unit < sizes.page_units {
                weights = eight(sizes.first + row0 + row, unit, i % 4u);
            }
            let col = i % 8u * 8u;
            for (var j = 0u; j < 4u; j++) {
                put_right(row, col + j, weights.lo[j]);
                put_right(row, col + 4u + j, weights.hi[j]);
            }
            // Eight rows of one token's gradient.
            let t = i / 4u;
            for (var j = 0u; j < 8u; j++) {
                let o = i % 4u * 8u + j;
                var value = 0.0;
                if t0 + t < sizes.tokens && row0 + o < sizes.count {
                    value = dy[(t0 + t) * sizes.columns + sizes.column + row0 + o];
                }
                put_left(o, t, value);
            }
        }
        multiply(lane, &sums);
    }
    finish_tile(lane, t0, col0, &sums);
}
