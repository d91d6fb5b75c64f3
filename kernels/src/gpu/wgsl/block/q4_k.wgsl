// Q4_K: a vector of nibbles per unit, then the headers.

fn eight_q4_k(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let sm = scale_and_minimum(p, i);
    return scaled(nibbles(page[p.first + i][part]), sm.x, -sm.y);
}
