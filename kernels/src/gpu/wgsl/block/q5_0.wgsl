// Q5_0: a vector of nibbles per unit, then a word of fifth bits per unit, then one f16 scale per
// unit.

fn eight_q5_0(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let fifths = word(p, units(p) * 4u + i) >> (part * 8u);
    let d = half(p, units(p) * 5u, i);
    let q = plus(nibbles(page[p.first + i][part]), sixteens(fifths));
    return Eight((q.lo - 16.0) * d, (q.hi - 16.0) * d);
}
