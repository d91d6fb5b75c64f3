// Q5_1 in whole numbers.

const TWO_SCALES: bool = false;

fn eight_bytes(p: Panel, row: u32, unit: u32, part: u32) -> vec2<u32> {
    let i = unit_of(p, row, unit);
    let fifths = word(p, units(p) * 4u + i) >> (part * 8u);
    return nibble_bytes(page[p.first + i][part]) | sixteen_bytes(fifths);
}

fn factors(p: Panel, row: u32, unit: u32) -> Factors {
    let dm = unpack2x16float(word(p, units(p) * 5u + unit_of(p, row, unit)));
    return Factors(vec2<f32>(dm.x), dm.y);
}
