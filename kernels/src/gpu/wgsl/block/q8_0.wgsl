// Q8_0: two vectors of signed bytes per unit, then one f16 scale per unit.

fn signed_bytes(bits: u32) -> vec4<f32> {
    let high = vec4<u32>(bits) << vec4<u32>(24u, 16u, 8u, 0u);
    return vec4<f32>(bitcast<vec4<i32>>(high) >> vec4<u32>(24u));
}

fn eight_q8_0(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let d = half(p, units(p) * 8u, i);
    let quants = page[p.first + i * 2u + (part >> 1u)];
    let pair = select(quants.xy, quants.zw, (part & 1u) == 1u);
    return Eight(signed_bytes(pair.x) * d, signed_bytes(pair.y) * d);
}
