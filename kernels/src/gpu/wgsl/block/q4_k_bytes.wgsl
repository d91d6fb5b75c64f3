// Q4_K in whole numbers.

const TWO_SCALES: bool = false;

fn eight_bytes(p: Panel, row: u32, unit: u32, part: u32) -> vec2<u32> {
    return nibble_bytes(page[p.first + unit_of(p, row, unit)][part]);
}

fn factors(p: Panel, row: u32, unit: u32) -> Factors {
    let sm = scale_and_minimum(p, unit_of(p, row, unit));
    return Factors(vec2<f32>(sm.x), -sm.y);
}
