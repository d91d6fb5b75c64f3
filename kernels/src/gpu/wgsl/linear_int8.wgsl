// `x Wᵀ` for many tokens in whole numbers: a tile of 64 tokens times 64 rows per workgroup of 128,
// 8 x 4 per invocation, a unit of 32 columns at a time. `x` is what the kernel `round` makes.

@group(0) @binding(1) var<storage, read_write> x: array<u32>;

/// Words of four columns: eight times 64 lines.
var<workgroup> left_words: array<u32, 512>;
var<workgroup> right_words: array<u32, 512>;
/// Scale and sum of each token's unit.
var<workgroup> left_scales: array<vec2<f32>, 64>;
var<workgroup> right_factors: array<Factors, 64>;

fn load(lane: u32, t0: u32, row0: u32, unit: u32) {
    for (var i = lane; i < 256u; i += 128u) {
        let line = i / 4u;
        let part = i % 4u;
        var bytes = vec2<u32>(0u);
        if row0 + line < sizes.count {
            bytes = eight_bytes(whole(), sizes.first + row0 + line, unit, part);
        }
        right_words[part * 128u + line] = bytes.x;
        right_words[part * 128u + 64u + line] = bytes.y;
        var words = vec2<u32>(0u);
        if t0 + line < sizes.tokens {
            let at = ((t0 + line) * sizes.page_units + unit) * 10u + 2u * part;
            words = vec2<u32>(x[at], x[at + 1u]);
        }
        left_words[part * 128u + line] = words.x;
        left_words[part * 128u + 64u + line] = words.y;
    }
    if lane < 64u {
        var all = Factors(vec2<f32>(0.0), 0.0);
        if row0 + lane < sizes.count {
            all = factors(whole(), sizes.first + row0 + lane, unit);
        }
        right_factors[lane] = all;
    } else {
        let line = lane - 64u;
        var scales = vec2<f32>(0.0);
        if t0 + line < sizes.tokens {
            let at = ((t0 + line) * sizes.page_units + unit) * 10u + 8u;
            scales = vec2<f32>(bitcast<f32>(x[at]), bitcast<f32>(x[at + 1u]));
        }
        left_scales[line] = scales;
    }
}

/// Adds up an invocation's products over half of the unit, 0 or 1.
fn multiply(lane: u32, part: u32, dots: ptr<function, array<vec4<i32>, 8>>) {
    for (var k = part * 4u; k < part * 4u + 4u; k++) {
        let at = k * 64u + lane % 16u;
        let right = vec4<u32>(
            right_words[at], right_words[at + 16u], right_words[at + 32u], right_words[at + 48u],
        );
        for (var i = 0u; i < 8u; i++) {
            let left = left_words[k * 64u + lane / 16u + 8u * i];
            (*dots)[i] += vec4<i32>(
                dot4I8Packed(left, right.x),
                dot4I8Packed(left, right.y),
                dot4I8Packed(left, right.z),
                dot4I8Packed(left, right.w),
            );
        }
    }
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.x * 64u;
    let t0 = group.y * 64u;
    var sums: array<vec4<f32>, 8>;
    for (var unit = 0u; unit < sizes.page_units; unit++) {
        load(lane, t0, row0, unit);
        workgroupBarrier();
        let some = lane % 16u;
        let a = right_factors[some];
        let b = right_factors[some + 16u];
        let c = right_factors[some + 32u];
        let d = right_factors[some + 48u];
        let first = vec4<f32>(a.d.x, b.d.x, c.d.x, d.d.x);
        let minimum = vec4<f32>(a.m, b.m, c.m, d.m);
        var dots: array<vec4<i32>, 8>;
        multiply(lane, 0u, &dots);
        if TWO_SCALES {
            for (var i = 0u; i < 8u; i++) {
                let scale = left_scales[lane / 16u + 8u * i].x;
                sums[i] += vec4<f32>(dots[i]) * first * scale;
                dots[i] = vec4<i32>(0);
            }
        }
        multiply(lane, 1u, &dots);
        let last = vec4<f32>(a.d.y, b.d.y, c.d.y, d.d.y);
        for (var i = 0u; i < 8u; i++) {
            let scales = left_scales[lane / 16u + 8u * i];
            sums[i] += vec4<f32>(dots[i]) * last * scales.x + minimum * scales.y;
        }
        workgroupBarrier();
    }
    finish_tile(lane, t0, row0, &sums);
}
