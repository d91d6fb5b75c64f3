// BF16: a unit is four vectors of eight upper halves. Rows are padded to whole units.

fn wide(bits: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(bits << 16u), bitcast<f32>(bits & 0xffff0000u));
}

fn eight_bf16(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let bits = page[p.first + unit_of(p, row, unit) * 4u + part];
    return Eight(
        vec4<f32>(wide(bits.x), wide(bits.y)),
        vec4<f32>(wide(bits.z), wide(bits.w)),
    );
}
