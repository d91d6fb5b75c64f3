// Q5_1: a vector of nibbles per unit, then a word of fifth bits per unit, then scale and minimum of
// each unit in a word.

fn eight_q5_1(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let i = unit_of(p, row, unit);
    let fifths = word(p, units(p) * 4u + i) >> (part * 8u);
    let dm = unpack2x16float(word(p, units(p) * 5u + i));
    return scaled(plus(nibbles(page[p.first + i][part]), sixteens(fifths)), dm.x, dm.y);
}
