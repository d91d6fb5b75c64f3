// `x Wᵀ` for many tokens: a tile of 64 tokens times 64 rows per workgroup, 4 x 4 per invocation,
// 32 columns at a time through workgroup memory.

var<workgroup> x_tile: array<f32, 2048>;
var<workgroup> w_tile: array<f32, 2048>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.x * 64u;
    let t0 = group.y * 64u;
    // Who loads what: eight columns of one token, and of one row.
    let line = lane / 4u;
    let part = lane % 4u;
    // Who computes what.
    let tx = (lane % 16u) * 4u;
    let ty = (lane / 16u) * 4u;
    var sums: array<vec4<f32>, 4>;
    for (var unit = 0u; unit < sizes.page_units; unit++) {
        var weights = Eight(vec4<f32>(0.0), vec4<f32>(0.0));
        if row0 + line < sizes.count {
            weights = eight(sizes.first + row0 + line, unit, part);
        }
        let col = unit * UNIT + part * 8u;
        for (var j = 0u; j < 8u; j++) {
            var value = 0.0;
            if t0 + line < sizes.tokens && col + j < sizes.page_cols {
                value = x[(t0 + line) * sizes.page_cols + col + j];
            }
            x_tile[(part * 8u + j) * 64u + line] = value;
        }
        for (var j = 0u; j < 4u; j++) {
            w_tile[(part * 8u + j) * 64u + line] = weights.lo[j];
            w_tile[(part * 8u + 4u + j) * 64u + line] = weights.hi[j];
        }
        workgroupBarrier();
        for (var k = 0u; k < UNIT; k++) {
            let at = k * 64u;
            let w = vec4<f32>(
                w_tile[at + tx], w_tile[at + tx + 1u], w_tile[at + tx + 2u], w_tile[at + tx + 3u],
            );
            sums[0] += x_tile[at + ty] * w;
            sums[1] += x_tile[at + ty + 1u] * w;
            sums[2] += x_tile[at + ty + 2u] * w;
            sums[3] += x_tile[at + ty + 3u] * w;
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            finish(t0 + ty + i, row0 + tx + j, sums[i][j]);
        }
    }
}
