// Q4_0: a vector of nibbles per unit, then one f16 scale per unit.

fn eight_q4_0(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let d = half(p, units(p) * 4u, i);
    let q = nibbles(page[p.first + i][part]);
    return Eight((q.lo - 8.0) * d, (q.hi - 8.0) * d);
}
