// A tile of 64 x 16 of a product with few columns.

var<workgroup> a_tile: array<f32, 2048>;
var<workgroup> b_tile: array<f32, 512>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m0 = group.x * 64u;
    let n0 = group.y * 16u;
    let first = group.z * sizes.part;
    let end = min(first + sizes.part, sizes.k);
    let along_k = sizes.a_k == 1u;
    var sums = vec4<f32>(0.0);
    for (var k0 = first; k0 < end; k0 += 32u) {
        for (var i = lane; i < 2048u; i += 256u) {
            // Neighbours in memory go to neighbouring invocations.
            let m = select(i % 64u, i / 32u, along_k);
            let k = select(i / 64u, i % 32u, along_k);
            var value = 0.0;
            if m0 + m < sizes.m && k0 + k < end {
                value = a[(m0 + m) * sizes.a_m + (k0 + k) * sizes.a_k];
            }
            a_tile[k * 64u + m] = value;
        }
        for (var i = lane; i < 512u; i += 256u) {
            let along = sizes.b_k == 1u;
            let n = select(i % 16u, i / 32u, along);
            let k = select(i / 16u, i % 32u, along);
            var value = 0.0;
            if n0 + n < sizes.n && k0 + k < end {
                value = b[(k0 + k) * sizes.b_k + (n0 + n) * sizes.b_n];
            }
            b_tile[k * 16u + n] = value;
        }
        workgroupBarrier();
        let m = (lane / 16u) * 4u;
        for (var k = 0u; k < 32u; k++) {
            let at = k * 64u + m;
            let column = vec4<f32>(a_tile[at], a_tile[at + 1u], a_tile[at + 2u], a_tile[at + 3u]);
            sums += column * b_tile[k * 16u + lane % 16u];
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        finish(group.z, m0 + (lane / 16u) * 4u + i, n0 + lane % 16u, sums[i]);
    }
}
