// `x Wᵀ` for up to four tokens: four rows per workgroup. Neighbouring invocations read
// neighbouring words, so that the weights stream through once.

const ROWS: u32 = 4u;

/// Column `col` of the four tokens.
fn column(col: u32) -> vec4<f32> {
    var values = vec4<f32>(0.0);
    if col < sizes.page_cols {
        values.x = x[col];
        if sizes.tokens > 1u {
            values.y = x[sizes.page_cols + col];
        }
        if sizes.tokens > 2u {
            values.z = x[2u * sizes.page_cols + col];
        }
        if sizes.tokens > 3u {
            values.w = x[3u * sizes.page_cols + col];
        }
    }
    return values;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = flat(group, groups) * ROWS;
    var sums: array<vec4<f32>, 4>;
    for (var i = lane; i < sizes.page_units * 4u; i += 64u) {
        var xs: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) {
            xs[j] = column(i * 8u + j);
        }
        for (var r = 0u; r < ROWS; r++) {
            if row0 + r < sizes.count {
                let w = eight(sizes.first + row0 + r, i / 4u, i % 4u);
                sums[r] += w.lo.x * xs[0] + w.lo.y * xs[1] + w.lo.z * xs[2] + w.lo.w * xs[3];
                sums[r] += w.hi.x * xs[4] + w.hi.y * xs[5] + w.hi.z * xs[6] + w.hi.w * xs[7];
            }
        }
    }
    let sum = row_total(lane, &sums);
    if lane < 16u {
        finish(lane % 4u, row0 + lane / 4u, sum);
    }
}
