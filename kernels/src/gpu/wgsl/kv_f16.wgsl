// Keys and values in a cache of halves, two in a word.

@group(0) @binding(1) var<storage, read_write> k: array<u32>;
@group(0) @binding(2) var<storage, read_write> v: array<u32>;

fn key(i: u32) -> f32 {
    let pair = unpack2x16float(k[i >> 1u]);
    return select(pair.x, pair.y, (i & 1u) == 1u);
}

fn value(i: u32) -> f32 {
    let pair = unpack2x16float(v[i >> 1u]);
    return select(pair.x, pair.y, (i & 1u) == 1u);
}
