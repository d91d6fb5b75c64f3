// Q5_K: a vector of nibbles per unit, then the headers, then a word of fifth bits per unit.

fn eight(row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(row, unit);
    let sm = scale_and_minimum(i);
    let fifths = word(units() * 4u + units() / 2u + i) >> (part * 8u);
    return scaled(plus(nibbles(page[i][part]), sixteens(fifths)), sm.x, -sm.y);
}
