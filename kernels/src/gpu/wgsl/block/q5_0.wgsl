// Q5_0: a vector of nibbles per unit, then a word of fifth bits per unit, then one f16 scale per
// unit.

fn eight(row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(row, unit);
    let fifths = word(units() * 4u + i) >> (part * 8u);
    let d = half(units() * 5u, i);
    let q = plus(nibbles(page[i][part]), sixteens(fifths));
    return Eight((q.lo - 16.0) * d, (q.hi - 16.0) * d);
}
