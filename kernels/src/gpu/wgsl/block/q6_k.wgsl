// Q6_K: a vector of nibbles per unit, then two words of bit pairs per unit, then two signed bytes
// of scales per unit, then one f16 per eight units.

/// The eight bit pairs of half a word, each worth 16.
fn pairs(bits: u32) -> Eight {
    let lo = (vec4<u32>(bits) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    let hi = (vec4<u32>(bits) >> vec4<u32>(8u, 10u, 12u, 14u)) & vec4<u32>(3u);
    return Eight(16.0 * vec4<f32>(lo), 16.0 * vec4<f32>(hi));
}

fn eight_q6_k(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let n = units(p);
    let high = word(p, n * 4u + i * 2u + (part >> 1u)) >> ((part & 1u) * 16u);
    let byte = i * 2u + (part >> 1u);
    let bits = word(p, n * 6u + (byte >> 2u)) << (24u - (byte & 3u) * 8u);
    let d = half(p, n * 6u + n / 2u, i >> 3u) * f32(bitcast<i32>(bits) >> 24u);
    let q = plus(nibbles(page[p.first + i][part]), pairs(high));
    return Eight((q.lo - 32.0) * d, (q.hi - 32.0) * d);
}
