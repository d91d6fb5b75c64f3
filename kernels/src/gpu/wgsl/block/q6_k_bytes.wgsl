// Q6_K in whole numbers.

const TWO_SCALES: bool = true;

/// The low four bit pairs, a byte each, worth 16.
fn spread_pairs(bits: u32) -> u32 {
    let twos = (bits | bits << 12u) & 0x000f000fu;
    return ((twos | twos << 6u) & 0x03030303u) << 4u;
}

fn eight_bytes(p: Panel, row: u32, unit: u32, part: u32) -> vec2<u32> {
    let i = unit_of(p, row, unit);
    let high = word(p, units(p) * 4u + i * 2u + (part >> 1u)) >> ((part & 1u) * 16u);
    let pairs = vec2<u32>(spread_pairs(high & 255u), spread_pairs(high >> 8u & 255u));
    return centred(nibble_bytes(page[p.first + i][part]) | pairs, 32u);
}

fn factors(p: Panel, row: u32, unit: u32) -> Factors {
    let i = unit_of(p, row, unit);
    let n = units(p);
    let bits = word(p, n * 6u + (i >> 1u)) >> ((i & 1u) * 16u);
    let scales = bitcast<vec2<i32>>(vec2<u32>(bits << 24u, bits << 16u)) >> vec2<u32>(24u);
    return Factors(half(p, n * 6u + n / 2u, i >> 3u) * vec2<f32>(scales), 0.0);
}
