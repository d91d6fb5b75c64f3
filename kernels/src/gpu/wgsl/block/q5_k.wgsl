// Q5_K: a vector of nibbles per unit, then the headers, then a word of fifth bits per unit.

fn eight_q5_k(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let sm = scale_and_minimum(p, i);
    let fifths = word(p, units(p) * 4u + units(p) / 2u + i) >> (part * 8u);
    return scaled(plus(nibbles(page[p.first + i][part]), sixteens(fifths)), sm.x, -sm.y);
}
