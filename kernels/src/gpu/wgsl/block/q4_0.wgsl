// Q4_0: a vector of nibbles per unit, then one f16 scale per unit.

fn eight(row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(row, unit);
    let d = half(units() * 4u, i);
    let q = nibbles(page[i][part]);
    return Eight((q.lo - 8.0) * d, (q.hi - 8.0) * d);
}
