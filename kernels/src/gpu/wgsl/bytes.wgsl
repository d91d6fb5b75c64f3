// Weights as whole numbers of a byte each. A block type says by `eight_bytes` what eight weights
// are, and by `factors` what they are worth: `d q + m`, with a d for either half of the unit.

struct Factors {
    d: vec2<f32>,
    m: f32,
}

/// The low four nibbles, a byte each.
fn spread_nibbles(bits: u32) -> u32 {
    let pairs = (bits | bits << 8u) & 0x00ff00ffu;
    return (pairs | pairs << 4u) & 0x0f0f0f0fu;
}

/// The eight nibbles of a word, a byte each.
fn nibble_bytes(bits: u32) -> vec2<u32> {
    return vec2<u32>(spread_nibbles(bits & 0xffffu), spread_nibbles(bits >> 16u));
}

/// The low four bits, a byte each, worth 16.
fn spread_bits(bits: u32) -> u32 {
    return ((bits & 15u) * 0x00204081u & 0x01010101u) << 4u;
}

/// The eight low bits of a word, a byte each, worth 16.
fn sixteen_bytes(bits: u32) -> vec2<u32> {
    return vec2<u32>(spread_bits(bits), spread_bits(bits >> 4u));
}

/// Takes `middle` (8, 16 or 32) from bytes that are less than twice that. The bit worth `middle` is
/// flipped; where it is set then, the byte is negative, and so are the bits above.
fn centred(bytes: vec2<u32>, middle: u32) -> vec2<u32> {
    let flipped = bytes ^ vec2<u32>(middle * 0x01010101u);
    let negative = flipped & vec2<u32>(middle * 0x01010101u);
    return flipped | negative * (256u / middle - 2u);
}
