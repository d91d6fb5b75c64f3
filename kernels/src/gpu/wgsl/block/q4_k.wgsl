// Q4_K: a vector of nibbles per unit, then the headers.

fn eight(row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(row, unit);
    let sm = scale_and_minimum(i);
    return scaled(nibbles(page[i][part]), sm.x, -sm.y);
}
