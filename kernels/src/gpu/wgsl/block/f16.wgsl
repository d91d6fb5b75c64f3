// F16: a unit is four vectors of eight halves. Rows are padded to whole units.

fn eight_f16(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let bits = page[p.first + unit_of(p, row, unit) * 4u + part];
    return Eight(
        vec4<f32>(unpack2x16float(bits.x), unpack2x16float(bits.y)),
        vec4<f32>(unpack2x16float(bits.z), unpack2x16float(bits.w)),
    );
}
