// F32: rows one after another, as the host writes them.

@group(0) @binding(0) var<storage, read> page: array<f32>;

fn one(row: u32, col: u32) -> f32 {
    if col < sizes.page_cols {
        return page[row * sizes.page_cols + col];
    }
    return 0.0;
}

fn eight(row: u32, unit: u32, part: u32) -> Eight {
    let c = unit * UNIT + part * 8u;
    return Eight(
        vec4<f32>(one(row, c), one(row, c + 1u), one(row, c + 2u), one(row, c + 3u)),
        vec4<f32>(one(row, c + 4u), one(row, c + 5u), one(row, c + 6u), one(row, c + 7u)),
    );
}
