// What Q4_K and Q5_K share: a header of four words per eight units, after the nibbles. Its first
// word is the two f16, the rest are the twelve bytes of 6-bit scales and minima.

fn header_byte(header: vec4<u32>, i: u32) -> u32 {
    return (header[1u + (i >> 2u)] >> ((i & 3u) * 8u)) & 255u;
}

/// Scale and minimum of unit `i` of the panel.
fn scale_and_minimum(p: Panel, i: u32) -> vec2<f32> {
    let header = page[p.first + units(p) + (i >> 3u)];
    let j = i & 7u;
    var scale = header_byte(header, j & 3u);
    var minimum = header_byte(header, (j & 3u) + 4u);
    if j < 4u {
        scale = scale & 63u;
        minimum = minimum & 63u;
    } else {
        let low = header_byte(header, j + 4u);
        scale = (low & 15u) | ((scale >> 6u) << 4u);
        minimum = (low >> 4u) | ((minimum >> 6u) << 4u);
    }
    return unpack2x16float(header.x) * vec2<f32>(f32(scale), f32(minimum));
}
