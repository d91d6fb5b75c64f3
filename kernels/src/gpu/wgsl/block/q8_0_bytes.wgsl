// Q8_0 in whole numbers: as it is.

const TWO_SCALES: bool = false;

fn eight_bytes(p: Panel, row: u32, unit: u32, part: u32) -> vec2<u32> {
    let quants = page[p.first + unit_of(p, row, unit) * 2u + (part >> 1u)];
    return select(quants.xy, quants.zw, (part & 1u) == 1u);
}

fn factors(p: Panel, row: u32, unit: u32) -> Factors {
    return Factors(vec2<f32>(half(p, units(p) * 8u, unit_of(p, row, unit))), 0.0);
}
