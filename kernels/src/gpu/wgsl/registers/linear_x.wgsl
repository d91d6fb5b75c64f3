// The activations of a linear.

/// Four columns of token `t`.
fn token(t: u32, col: u32) -> vec4<f32> {
    let cols = vec4<u32>(0u, 1u, 2u, 3u) + col;
    let inside = cols < vec4<u32>(sizes.page_cols);
    let first = min(t, sizes.tokens - 1u) * sizes.page_cols;
    let at = select(vec4<u32>(0u), cols, inside) + first;
    return select(vec4<f32>(0.0), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}
