// Q4_0 in whole numbers.

const TWO_SCALES: bool = false;

fn eight_bytes(p: Panel, row: u32, unit: u32, part: u32) -> vec2<u32> {
    return centred(nibble_bytes(page[p.first + unit_of(p, row, unit)][part]), 8u);
}

fn factors(p: Panel, row: u32, unit: u32) -> Factors {
    return Factors(vec2<f32>(half(p, units(p) * 4u, unit_of(p, row, unit))), 0.0);
}
