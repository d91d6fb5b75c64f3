// What block types share: a panel is words, four of them loaded at once where they lie together.

fn word(p: Panel, i: u32) -> u32 {
    return page[p.first + (i >> 2u)][i & 3u];
}

/// The f16 number `i` from word `first` on.
fn half(p: Panel, first: u32, i: u32) -> f32 {
    let pair = unpack2x16float(word(p, first + (i >> 1u)));
    return select(pair.x, pair.y, (i & 1u) == 1u);
}

/// Units of the panel.
fn units(p: Panel) -> u32 {
    return p.rows * p.units;
}

fn unit_of(p: Panel, row: u32, unit: u32) -> u32 {
    return row * p.units + unit;
}

/// The eight nibbles of a word.
fn nibbles(bits: u32) -> Eight {
    let lo = (vec4<u32>(bits) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let hi = (vec4<u32>(bits) >> vec4<u32>(16u, 20u, 24u, 28u)) & vec4<u32>(15u);
    return Eight(vec4<f32>(lo), vec4<f32>(hi));
}

/// The eight low bits of a byte, each worth 16.
fn sixteens(bits: u32) -> Eight {
    let lo = (vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
    let hi = (vec4<u32>(bits) >> vec4<u32>(4u, 5u, 6u, 7u)) & vec4<u32>(1u);
    return Eight(16.0 * vec4<f32>(lo), 16.0 * vec4<f32>(hi));
}

fn plus(a: Eight, b: Eight) -> Eight {
    return Eight(a.lo + b.lo, a.hi + b.hi);
}

/// `scale q + shift`.
fn scaled(q: Eight, scale: f32, shift: f32) -> Eight {
    return Eight(q.lo * scale + shift, q.hi * scale + shift);
}
