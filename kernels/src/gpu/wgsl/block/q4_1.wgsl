// Q4_1: a vector of nibbles per unit, then scale and minimum of each unit in a word.

fn eight_q4_1(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let dm = unpack2x16float(word(p, units(p) * 4u + i));
    return scaled(nibbles(page[p.first + i][part]), dm.x, dm.y);
}
