// F32: rows one after another, as the host writes them. They lie among other f32 values, which a
// kernel may write.

fn one(p: Panel, row: u32, col: u32) -> f32 {
    if col < p.cols {
        return floats[p.first + row * p.cols + col];
    }
    return 0.0;
}

fn eight_f32(p: Panel, row: u32, unit: u32, part: u32) -> Eight {
    let c = unit * UNIT + part * 8u;
    return Eight(
        vec4<f32>(one(p, row, c), one(p, row, c + 1u), one(p, row, c + 2u), one(p, row, c + 3u)),
        vec4<f32>(
            one(p, row, c + 4u),
            one(p, row, c + 5u),
            one(p, row, c + 6u),
            one(p, row, c + 7u),
        ),
    );
}
