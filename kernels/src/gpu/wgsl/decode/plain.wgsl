// The input is `x` as it is.

fn input(col: u32) -> f32 {
    if col < sizes.cols {
        return x[col];
    }
    return 0.0;
}
