// Q4_1: a vector of nibbles per unit, then scale and minimum of each unit in a word.

fn eight(row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(row, unit);
    let dm = unpack2x16float(word(units() * 4u + i));
    return scaled(nibbles(page[i][part]), dm.x, dm.y);
}
