// `x Wᵀ` for up to four tokens: 64 rows per workgroup. Each of the members reads a token.

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat(group, groups) * 64u + lane;
    let mine = member();
    // Of four tokens each.
    var sums: array<vec4<f32>, 8>;
    for (var i = 0u; i < sizes.page_units * 4u; i++) {
        let lo = of_members(token(mine, i * 8u));
        let hi = of_members(token(mine, i * 8u + 4u));
        for (var j = 0u; j < 8u; j++) {
            let own = min(row + j * APART, sizes.count - 1u);
            let w = eight(sizes.first + own, i / 4u, i % 4u);
            sums[j] += w.lo * lo + w.hi * hi;
        }
    }
    for (var j = 0u; j < 8u; j++) {
        for (var t = 0u; t < 4u; t++) {
            finish(t, row + j * APART, sums[j][t]);
        }
    }
}
