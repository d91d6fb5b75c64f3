// Hands the sums of an invocation of a 64 x 64 tile over: the tile begins at token `t0` and result
// `i0`.

fn finish_tile(lane: u32, t0: u32, i0: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    for (var i = 0u; i < 8u; i++) {
        for (var j = 0u; j < 4u; j++) {
            finish(t0 + lane / 16u + 8u * i, i0 + lane % 16u + 16u * j, (*sums)[i][j]);
        }
    }
}
