// Q5_K in whole numbers.

const TWO_SCALES: bool = false;

fn eight_bytes(p: Panel, row: u32, unit: u32, part: u32) -> vec2<u32> {
    let i = unit_of(p, row, unit);
    let fifths = word(p, units(p) * 4u + units(p) / 2u + i) >> (part * 8u);
    return nibble_bytes(page[p.first + i][part]) | sixteen_bytes(fifths);
}

fn factors(p: Panel, row: u32, unit: u32) -> Factors {
    let sm = scale_and_minimum(p, unit_of(p, row, unit));
    return Factors(vec2<f32>(sm.x), -sm.y);
}
