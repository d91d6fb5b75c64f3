// The input is `w x / rms(x)`. The root is the same for all columns, so that sums over columns are
// multiplied by it once, at their end. Sizes name the norm's `norm` in `floats`, and `eps`.

fn input(col: u32) -> f32 {
    if col < sizes.cols {
        return x[col] * floats[sizes.norm + col];
    }
    return 0.0;
}

/// `1 / rms(x)`.
fn inverse_rms(lane: u32) -> f32 {
    var squares = 0.0;
    for (var c = lane; c < sizes.cols; c += 256u) {
        squares += x[c] * x[c];
    }
    let total = team_total(lane, 256u, vec4<f32>(squares)).x;
    return 1.0 / sqrt(total / f32(sizes.cols) + sizes.eps);
}
